/** What the page asks the server, and what it makes of the answers: band choice, stretch, overlays, tile addresses. */

import { changedParameters, encode } from "./state.js";

/**
 * A named rendering of the server's.
 * @typedef {object} Style
 * @property {string} name
 * @property {string} title
 * @property {string[][]} bands for each channel the common names that serve, the best first
 * @property {boolean} index whether it shows an index of two bands instead of three channels
 */

/** The style of scenes whose bands are known. */
const NATURAL = "natural";

/** Overlays: algorithms of the server, which colours their pictures. */
export const OVERLAYS = {
  cloud_mask: { label: "Clouds and shadows" },
  cloud_probability: { label: "Cloud probability" },
  fill_source: { label: "Fill source", filled: true },
  fill_confidence: { label: "Fill confidence", filled: true },
};

/**
 * The classes of an overlay's legend that a picture can have.
 * @param {{low: number, colour: string, label: string}[]} palette of the server
 * @param {string} overlay
 * @param {number} count of the replacements
 */
export function legend(palette, overlay, count) {
  return palette.filter(({ low }) => overlay !== "fill_source" || low <= count || low === 255);
}

/**
 * @param {string} path below `/cog`, relative to the page
 * @param {[string, unknown][]} query
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>} the answer; an `Error` with the server's own words where it refuses
 */
export async function ask(path, query, signal) {
  const answer = await fetch(query.length ? `${path}?${encode(query)}` : path, { signal }).catch((error) => {
    throw error.name === "AbortError" ? error : new Error("The server does not answer.");
  });
  if (!answer.ok) throw new Error(await refusal(answer));
  return answer.json();
}

/**
 * @param {Response} answer of a failed request
 * @returns {Promise<string>} why, as the server says it
 */
export async function refusal(answer) {
  const body = await answer.json().catch(() => ({}));
  const detail = typeof body.detail === "string" ? body.detail : JSON.stringify(body.detail ?? "");
  return detail.length > 2 ? detail : `The server answers ${answer.status} ${answer.statusText}`;
}

/**
 * @param {any} info answer of `/cog/info`
 * @returns {(string | null)[]} common names of the bands in order
 */
export function bandNames(info) {
  return info.clearsky?.bands ?? info.band_descriptions.map(([, description]) => description || null);
}

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
 * @returns {{bands: number[], style: string}} three bands, two of an index, or one for images of fewer than three bands
 */
export function chooseBands(names, state, styles) {
  const channels = names.length < 3 ? 1 : 3;
  const own = state.bidx;
  if (own.length === channels && own.every((band) => band <= names.length)) {
    return { bands: own, style: own.every((band) => names[band - 1]) && channels === 3 ? NATURAL : "" };
  }
  const wanted = styles.filter((style) => style.name === state.style);
  for (const style of [...wanted, ...styles.filter((other) => !other.index)]) {
    const bands = channels === 3 ? styleBands(names, style) : null;
    if (bands) return { bands, style: style.name };
  }
  return { bands: [1, 2, 3].slice(0, channels), style: "" };
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

/**
 * Tile addresses of the original, the cloud-free picture and the overlay; null for what cannot be shown.
 * @param {import("./state.js").State} state
 * @param {import("./state.js").State["parameters"]} defaults
 * @param {{bands: number[], style: string, ranges: [number, number][]}} shown ranges, or without any the style
 * @returns {{before: string, after: ?string, overlay: ?string}}
 */
export function tileAddresses(state, defaults, { bands, style, ranges }) {
  const scene = [["url", state.url]];
  const colours = ranges.length || state.bidx.length ? bands.map((band) => ["bidx", band]) : [];
  colours.push(...(ranges.length ? ranges.map((range) => ["rescale", range.join(",")]) : [["style", style]]));
  const replacements = state.replacement.map((url) => ["replacement", url]);
  // Defaults are left out, so that a plain link and a default setting share the caches between here and the server.
  const changed = changedParameters(state, defaults);
  const parameters = changed.length ? [["algorithm_params", JSON.stringify(Object.fromEntries(changed))]] : [];
  // `encode` escapes braces, so that one in a file name is not taken for a placeholder of Leaflet's.
  const tile = (format, ...parts) => {
    const pairs = [...parts.flat(), ["tilesize", 512]];
    const replaced = pairs.some(([name]) => name === "replacement");
    pairs.push(...state.extra.filter(([name]) => replaced || name !== "replacement_mask"));
    return `cog/tiles/WebMercatorQuad/{z}/{x}/{y}.${format}?${encode(pairs)}`;
  };
  const overlay = OVERLAYS[state.overlay];
  const shown = state.overlayOn && overlay && (!overlay.filled || replacements.length > 0);
  return {
    before: tile("webp", scene, colours),
    after: replacements.length ? tile("webp", scene, replacements, colours, parameters) : null,
    overlay: shown
      ? tile("png", scene, overlay.filled ? [...replacements, ...parameters] : [], [["algorithm", state.overlay]])
      : null,
  };
}
