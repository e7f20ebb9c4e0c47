/** Both sides of the bar: a picture or classes on each, the original below them, an overlay above. */

import { Picture, SHOWN_PIXELS } from "./layers.js";

/**
 * Addresses of what is to be seen; null for what is not.
 * @typedef {object} Addresses
 * @property {string} ground the original
 * @property {{picture: ?string, classes: ?string}} left
 * @property {{picture: ?string, classes: ?string}} right
 * @property {?string} overlay
 */

/** The pictures on the map. */
export class Stage {
  /**
   * @param {L.Map} map
   * @param {{busy: (what: object, on: boolean) => void, failed: (error: Error) => void, changed: () => void}} report
   */
  constructor(map, report) {
    this.map = map;
    this.split = null; // pixels from the map's left edge to the bar; null without a bar
    this.report = { ...report, changed: () => { this.clip(); report.changed(); } };
    // In the order of their requests: the original is there at once, the others may take their time.
    this.ground = this.picture("ground", 205);
    this.sides = ["left", "right"].map((side) => ({
      picture: this.picture(side, 210), classes: this.picture(`${side}-classes`, 220),
    }));
    this.overlay = this.picture("overlay", 230);
  }

  picture(name, order) {
    return new Picture(this.map, name, order, this.report);
  }

  get all() {
    return [this.ground, ...this.sides.flatMap(({ picture, classes }) => [picture, classes]), this.overlay];
  }

  /**
   * @param {?Addresses} addresses null removes everything
   * @param {object} [scene] see `Picture.show`
   */
  show(addresses, scene = undefined) {
    this.ground.show(addresses?.ground ?? null, scene, Boolean(addresses));
    this.sides.forEach((side, k) => {
      const wanted = addresses?.[k ? "right" : "left"];
      side.picture.show(wanted?.picture ?? null, scene, Boolean(addresses));
      side.classes.show(wanted?.classes ?? null, scene, false);
    });
    this.overlay.show(addresses?.overlay ?? null, scene, false);
    this.clip();
  }

  /** Ask for everything again. */
  forget() {
    this.all.forEach((picture) => picture.forget());
  }

  /** Cut the pictures at the bar. The original shows where its side wants it, or has nothing else to show yet. */
  clip() {
    const { x: width } = this.map.getSize();
    const split = this.split ?? 0;
    const parts = [{ left: 0, right: split }, { left: split, right: width }];
    this.sides.forEach(({ picture, classes }, k) => {
      picture.clip(parts[k]);
      classes.clip(parts[k]);
    });
    const open = this.sides.map(({ picture }) => !picture.covers);
    this.ground.clip({ left: open[0] ? 0 : split, right: open[1] ? width : split });
  }

  /** @returns {{side: number, wanted: number, done: number}[]} sides that have not all of their pictures yet */
  get underway() {
    return this.sides.flatMap(({ picture, classes }, side) => {
      const waiting = [picture, classes].filter((part) => part.loading && !part.old);
      return waiting.map(({ wanted, done }) => ({ side, wanted, done }));
    });
  }

  /** @returns {string[]} what the server warns of in the tiles on the map, each once */
  get warnings() {
    return [...new Set(this.all.flatMap(({ warnings }) => warnings))];
  }

  /**
   * What the tiles on the map say of cloud in what is filled, or is a mask, each by the part of it that is in view.
   * @param {L.LatLngBounds} bounds of the scene
   * @returns {?{cloud: number, filled: number}} shares of the scene in view
   */
  figures(bounds) {
    const sources = this.sides.flatMap(({ picture, classes }) => [picture, classes]).reverse();
    const tiles = sources.map(({ figures }) => figures).find((figures) => figures.length) ?? [];
    const view = this.map.getPixelBounds();
    const zoom = this.map.getZoom();
    const [corner, opposite] = [bounds.getNorthWest(), bounds.getSouthEast()].map((place) => this.map.project(place, zoom));
    let [area, cloud, filled] = [0, 0, 0];
    for (const tile of tiles) {
      const scale = this.map.getZoomScale(zoom, tile.coords.z);
      const side = SHOWN_PIXELS * scale;
      const low = tile.coords.multiplyBy(side);
      const high = low.add([side, side]);
      const width = Math.min(high.x, view.max.x, opposite.x) - Math.max(low.x, view.min.x, corner.x);
      const height = Math.min(high.y, view.max.y, opposite.y) - Math.max(low.y, view.min.y, corner.y);
      const part = Math.max(0, width) * Math.max(0, height);
      area += part;
      cloud += part * tile.cloud;
      filled += part * tile.filled;
    }
    return area ? { cloud: cloud / area, filled: filled / area } : null;
  }
}
