/** Tile layers that change their address without a flash, and the clip of the swipe bar. */

/* global L */

// Pixels of a tile are always 512: fewer requests and less work lost on tile borders than with 256. A dense screen
// shows them at half the size, so that it gets as many pixels as it has.
const DENSE = window.devicePixelRatio > 1.5;
const OLD_TILES_STAY = 300; // milliseconds: longer than Leaflet's fade

/** One picture on the map. */
export class Picture {
  /**
   * @param {L.Map} map
   * @param {string} pane name of the pane, made here
   * @param {number} order z-index of the pane
   * @param {{busy: (on: boolean) => void, failed: (src: string) => void}} report
   */
  constructor(map, pane, order, report) {
    Object.assign(this, { map, report, name: pane, pane: map.createPane(pane) });
    Object.assign(this, { address: null, current: null, old: null });
    this.pane.style.zIndex = String(order);
    this.pane.style.pointerEvents = "none";
    this.opacity = 1;
  }

  /**
   * Show tiles of an address. The old ones stay below until the new ones are there.
   * @param {?string} address with `{z}/{x}/{y}`; null removes the picture
   * @param {{bounds: L.LatLngBounds, maxzoom: number}} scene zoom of the native resolution for tiles of 512 pixels
   * @param {boolean} keep whether the old tiles show the same scene
   */
  show(address, scene, keep) {
    if (address === this.address && keep) return;
    this.address = address;
    if (this.current && !this.current.isLoading() && keep && address) {
      this.remove(this.old);
      this.old = this.current;
    } else {
      this.remove(this.current);
      if (!keep || !address) this.old = this.remove(this.old);
    }
    this.current = address ? this.add(address, scene) : null;
  }

  /** Take the next address for a new one, so that failed tiles are asked for again. */
  forget() {
    this.address = undefined;
  }

  add(address, { bounds, maxzoom }) {
    const layer = L.tileLayer(address, {
      pane: this.name, bounds, opacity: this.opacity, tileSize: DENSE ? 256 : 512, zoomOffset: DENSE ? 0 : -1,
      maxNativeZoom: maxzoom + (DENSE ? 0 : 1), minZoom: 0, maxZoom: 24, keepBuffer: 1,
    });
    layer.on("loading", () => this.report.busy(layer, true));
    layer.on("load", () => {
      this.report.busy(layer, false);
      setTimeout(() => {
        if (layer === this.current && !layer.isLoading()) this.old = this.remove(this.old);
      }, OLD_TILES_STAY);
    });
    layer.on("tileerror", ({ tile }) => this.report.failed(tile.src));
    return layer.addTo(this.map);
  }

  remove(layer) {
    layer?.remove();
    if (layer) this.report.busy(layer, false);
    return null;
  }

  /** @param {number} opacity 0 to 1 */
  fade(opacity) {
    this.opacity = opacity;
    this.current?.setOpacity(opacity);
    this.old?.setOpacity(opacity);
  }

  /**
   * Show only a part of the pane.
   * @param {?{left: number, right: number}} part in pixels of the map's container; null: everything
   */
  clip(part) {
    if (!part) {
      this.pane.style.clipPath = "";
      return;
    }
    const from = this.map.containerPointToLayerPoint([part.left, 0]);
    const to = this.map.containerPointToLayerPoint([part.right, this.map.getSize().y]);
    const corners = [[from.x, from.y], [to.x, from.y], [to.x, to.y], [from.x, to.y]];
    this.pane.style.clipPath = `polygon(${corners.map(([x, y]) => `${x}px ${y}px`).join(",")})`;
  }
}

/**
 * A map without background: the page works offline.
 * @param {HTMLElement} element
 * @returns {L.Map}
 */
export function makeMap(element) {
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const map = L.map(element, {
    zoomControl: false, fadeAnimation: !still, zoomAnimation: !still, inertia: !still, maxZoom: 20, minZoom: 2,
  });
  L.control.zoom({ position: "topright" }).addTo(map);
  L.control.scale({ position: "bottomright", imperial: false }).addTo(map);
  map.attributionControl.setPrefix(false).addAttribution("ClearSky, Leaflet");
  return map;
}
