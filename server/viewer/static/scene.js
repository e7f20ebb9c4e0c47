/** What the server says of a target and its replacements. */

/* global L */

import { report } from "./feedback.js";
import { ask } from "./server.js";

/**
 * A band as the server understands it.
 * @typedef {{name: ?string, asset: string, scale: number, offset: number, nodata: ?number}} Band
 */

/**
 * @typedef {object} Date of a replacement
 * @property {string} url
 * @property {?string} id of its STAC Item
 * @property {?string} datetime when it was taken
 * @property {(string | null)[]} names of its bands
 */

/**
 * @typedef {object} Scene
 * @property {string} url
 * @property {L.LatLngBounds} bounds
 * @property {number} minzoom least useful zoom of tiles of 256 pixels
 * @property {number} maxzoom zoom of the native resolution
 * @property {Band[]} bands in the order of their numbers
 * @property {(string | null)[]} names of the bands
 * @property {Date[]} dates of the replacements, once they are known
 * @property {Promise<void>} complete when they are; a failure is shown
 */

/** @returns {(string | null)[]} */
function namesOf(bands) {
  return bands.map(({ name }) => name);
}

/**
 * @param {import("./state.js").State} state
 * @param {AbortSignal} signal
 * @returns {Promise<Scene>}
 */
export async function readScene(state, signal) {
  const own = state.extra.filter(([name]) => !name.startsWith("replacement_"));
  const query = [["url", state.url], ...own];
  const [described, tiles] = await Promise.all([
    ask("cog/scene", query, signal), ask("cog/WebMercatorQuad/tilejson.json", query, signal),
  ]);
  const [west, south, east, north] = tiles.bounds;
  const scene = {
    url: state.url, bounds: L.latLngBounds([south, west], [north, east]), minzoom: tiles.minzoom,
    maxzoom: tiles.maxzoom, bands: described.bands, names: namesOf(described.bands), dates: [],
  };
  scene.complete = state.replacement.length ? readDates(scene, state, signal) : Promise.resolve();
  return scene;
}

/** Learn what the replacements are; a target can be looked at without. */
async function readDates(scene, state, signal) {
  try {
    const query = [["url", state.url], ...state.replacement.map((url) => ["replacement", url]), ...state.extra];
    const { replacements } = await ask("cog/scene", query, signal);
    scene.dates = replacements.map(({ url, id, datetime, bands }) => ({ url, id, datetime, names: namesOf(bands) }));
  } catch (error) {
    report(error);
  }
}
