/** Pictures on the map: tile layers that change their address without a flash, each cut at the bar. */

/* global L */

import { FetchedTiles } from "./tiles.js";

// Pixels of a tile are always 512: fewer requests and less work lost on tile borders than with 256. A dense screen
// shows them at half the size, so that it gets as many pixels as it has.
const DENSE = window.devicePixelRatio > 1.5;
const OLD_TILES_STAY = 300; // milliseconds: longer than Leaflet's fade
/** Pixels of a tile's side. */
export const TILE_PIXELS = 512;
/** Pixels of the screen that they take. */
export const SHOWN_PIXELS = DENSE ? 256 : TILE_PIXELS;

/** One picture on the map. */
export class Picture {
  /**
   * @param {L.Map} map
   * @param {string} pane name of the pane, made here
   * @param {number} order z-index of the pane
   * @param {{busy: (what: object, on: boolean) => void, failed: (error: Error) => void, changed: () => void}} report
   */
  constructor(map, pane, order, report) {
    Object.assign(this, { map, report, name: pane, pane: map.createPane(pane) });
    Object.assign(this, { address: null, current: null, old: null, opacity: 1, wanted: 0, done: 0, failures: 0 });
    this.pane.style.zIndex = String(order);
    this.pane.style.pointerEvents = "none";
  }

  /**
   * Show tiles of an address. The old ones stay below until the new ones are there.
   * @param {?string} address with `{z}/{x}/{y}`; null removes the picture
   * @param {{bounds: L.LatLngBounds, minzoom: number, maxzoom: number}} scene zooms of tiles of 256 pixels
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
    Object.assign(this, { wanted: 0, done: 0, failures: 0 });
    this.current = address ? this.add(address, scene) : null;
  }

  /** Take the next address for a new one, so that failed tiles are asked for again. */
  forget() {
    this.address = undefined;
  }

  /** Whether it covers its side, with nothing to be seen through it. */
  get covers() {
    return Boolean(this.old || (this.current && !this.current.isLoading() && this.done && !this.failures));
  }

  /** Whether tiles are on their way. */
  get loading() {
    return Boolean(this.current?.isLoading());
  }

  /** @returns {{coords: L.Coords, cloud: number, filled: number}[]} what its tiles on the map say */
  get figures() {
    return this.current ? [...this.current.figures.values()] : [];
  }

  /** @returns {string[]} what the server warns of in its tiles on the map */
  get warnings() {
    return this.current ? [...this.current.warnings.values()] : [];
  }

  add(address, { bounds, minzoom, maxzoom }) {
    const coarser = DENSE ? 0 : 1;
    const layer = new FetchedTiles(address, {
      pane: this.name, bounds, opacity: this.opacity, tileSize: SHOWN_PIXELS, zoomOffset: -coarser,
      minNativeZoom: minzoom + coarser, maxNativeZoom: maxzoom + coarser, minZoom: 0, maxZoom: 24, keepBuffer: 1,
    });
    const mine = () => layer === this.current;
    layer.on("loading", () => {
      if (mine()) Object.assign(this, { wanted: 0, done: 0, failures: 0 });
      this.report.busy(layer, true);
    });
    layer.on("tileloadstart", () => { if (mine()) this.wanted += 1; });
    layer.on("tileload tileerror", () => {
      if (mine()) this.done += 1;
      this.report.changed();
    });
    layer.on("tileerror", ({ error }) => {
      if (error.outside) return;
      if (mine()) {
        this.failures += 1;
        this.old = this.remove(this.old); // which would pass for what was asked for
      }
      this.report.failed(error);
    });
    layer.on("load", () => {
      this.report.busy(layer, false);
      this.report.changed();
      setTimeout(() => {
        if (!mine() || layer.isLoading()) return;
        this.old = this.remove(this.old);
        this.report.changed();
      }, OLD_TILES_STAY);
    });
    this.current = layer;
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
