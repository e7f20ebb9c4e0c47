/** Which bands are shown, and how their values become tones. */

import { ask } from "./server.js";

/** The style of scenes whose bands are known. */
const NATURAL = "natural";

/**
 * A named rendering of the server's.
 * @typedef {object} Style
 * @property {string} name
 * @property {string} title
 * @property {string[][]} bands for each channel the common names that serve, the best first
 * @property {boolean} index whether it shows an index of two bands instead of three channels
 */

/**
 * What the pictures show.
 * @typedef {object} Shown
 * @property {number[]} bands on the screen's channels
 * @property {string} style empty where ranges say how values look
 * @property {[number, number][]} ranges of the channels; without any the style says
 * @property {boolean} index whether the style shows an index
 */

/**
 * @param {(string | null)[]} names
 * @param {Style} style
 * @returns {?number[]} band numbers, or null where the image lacks one
 */
export function styleBands(names, style) {
  const found = style.bands.map((wanted) => 1 + Math.max(-1, names.indexOf(wanted.find((n) => names.includes(n)))));
  return found.includes(0) ? null : found;
}

/**
 * What to show: the bands asked for, or the style, if the image has them; else the first style that it can show. Bands
 * that have names go through the curve of natural colour, so `style` says how; others need ranges, and it is empty.
 * @param {(string | null)[]} names
 * @param {import("./state.js").State} state
 * @param {Style[]} styles
 * @returns {Shown} without ranges; of three bands, two of an index, or one for images of fewer than three bands
 */
export function chooseBands(names, state, styles) {
  const channels = names.length < 3 ? 1 : 3;
  const own = state.bidx;
  const shown = { ranges: [], index: false };
  if (own.length === channels && own.every((band) => band <= names.length)) {
    return { ...shown, bands: own, style: own.every((band) => names[band - 1]) && channels === 3 ? NATURAL : "" };
  }
  const wanted = styles.filter((style) => style.name === state.style);
  for (const style of [...wanted, ...styles.filter((other) => !other.index)]) {
    const bands = channels === 3 || style.index ? styleBands(names, style) : null;
    if (bands) return { ...shown, bands, style: style.name, index: style.index };
  }
  return { ...shown, bands: [1, 2, 3].slice(0, channels), style: "" };
}

/**
 * The parameters that say what a picture shows.
 * @param {import("./state.js").State} state
 * @param {Shown} shown
 * @param {number[]} [bands] their numbers in another image
 * @returns {[string, unknown][]}
 */
export function colourQuery(state, { bands: own, style, ranges }, bands = own) {
  const chosen = ranges.length || state.bidx.length ? bands.map((band) => ["bidx", band]) : [];
  return [...chosen, ...(ranges.length ? ranges.map((range) => ["rescale", range.join(",")]) : [["style", style]])];
}

/**
 * Where another image has the same bands.
 * @param {number[]} bands
 * @param {(string | null)[]} names of the image they are of
 * @param {(string | null)[]} others names of the other one
 * @returns {number[]} the same numbers where names do not tell
 */
export function alike(bands, names, others) {
  return bands.map((band) => 1 + others.indexOf(names[band - 1] ?? undefined) || band);
}

/**
 * A range per channel from the 2nd to a high percentile and a little on, for another date is not quite as bright.
 * @param {string} url of the image; a clear one where there is one, because clouds spoil the stretch
 * @param {boolean} clear whether it is; of a cloudy image the brightest fifth does not count
 * @param {number[]} bands its band numbers
 * @param {[string, string][]} extra
 * @param {AbortSignal} signal
 * @returns {Promise<[number, number][]>}
 */
export async function percentileRanges(url, clear, bands, extra, signal) {
  const [top, beyond] = clear ? [98, 0.2] : [80, 0.5];
  const passed = extra.filter(([name]) => name === "nodata");
  const query = [["url", url], ...[...new Set(bands)].map((band) => ["bidx", band]), ["p", 2], ["p", top],
    ["max_size", 512], ...passed];
  const statistics = await ask("cog/statistics", query, signal);
  return bands.map((band) => {
    const { percentile_2: low, [`percentile_${top}`]: high } = statistics[`b${band}`];
    const span = high - low || 1;
    return [tidy(Math.max(low - 0.1 * span, Math.min(low, 0))), tidy(high + beyond * span)];
  });
}

/** @returns {number} whole where the values are large, four digits otherwise. */
function tidy(value) {
  return Math.abs(value) >= 100 ? Math.round(value) : Number(value.toPrecision(4));
}
