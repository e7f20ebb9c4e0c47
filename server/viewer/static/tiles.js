/** Tiles that are fetched rather than left to image elements: their headers and the reasons of failures can be read. */

/* global L */

import { request } from "./server.js";

/**
 * What the headers of a tile say.
 * @typedef {object} Figures
 * @property {number} cloud share of its valid pixels that is cloud or its buffer
 * @property {number} filled share of them that is filled
 */

/** @returns {?number} */
function fraction(answer, name) {
  const text = answer.headers.get(`X-Clearsky-${name}-Fraction`);
  return text === null ? null : Number(text);
}

/** A tile layer that draws each picture on a canvas. */
export const FetchedTiles = L.TileLayer.extend({
  initialize(address, options) {
    L.TileLayer.prototype.initialize.call(this, address, options);
    this.requests = new Map(); // by tile, what calls its request off
    this.figures = new Map(); // by tile, its `coords` and `Figures`
    this.warnings = new Map(); // by tile, what the server warns of
    const drop = ({ tile }) => {
      this.requests.get(tile)?.abort();
      this.requests.delete(tile);
      this.figures.delete(tile);
      this.warnings.delete(tile);
    };
    this.on("tileunload tileabort", drop);
  },

  createTile(coords, done) {
    const tile = document.createElement("canvas");
    const control = new AbortController();
    this.requests.set(tile, control);
    this.fetchTile(tile, coords, control.signal).then(
      () => done(null, tile),
      (error) => { if (error.name !== "AbortError") done(error, tile); },
    );
    return tile;
  },

  async fetchTile(tile, coords, signal) {
    const answer = await request(this.getTileUrl(coords), { signal });
    const warning = answer.headers.get("X-Clearsky-Warning");
    if (warning) this.warnings.set(tile, warning);
    tile.complete = true; // as an image has it: Leaflet keeps such tiles while another zoom is loaded
    if (answer.status === 204) return;
    const picture = await createImageBitmap(await answer.blob());
    if (signal.aborted) throw new DOMException("", "AbortError");
    Object.assign(tile, { width: picture.width, height: picture.height });
    tile.getContext("2d").drawImage(picture, 0, 0);
    const cloud = fraction(answer, "Cloud");
    if (cloud !== null) this.figures.set(tile, { coords, cloud, filled: fraction(answer, "Filled") ?? 0 });
  },
});
