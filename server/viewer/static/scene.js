/** What the page asks the server, and what it makes of the answers: band choice, stretch, overlays, tile addresses. */

import { changedParameters, encode } from "./state.js";

/** Band combinations by common names; several names stand for the first that the image has. */
export const PRESETS = [
  { name: "True colour", bands: [["red"], ["green"], ["blue"]] },
  { name: "False colour (NIR)", bands: [["nir", "nir08"], ["red"], ["green"]] },
  { name: "Short-wave infrared", bands: [["swir22", "swir16"], ["nir", "nir08"], ["red"]] },
];

/** Fills of the first replacements; the list starts again where there are more. */
const SOURCE_COLOURS = ["#00a6fb", "#f9c80e", "#43aa8b", "#b07cf7", "#f8961e"];
const UNFILLED = "#e5383b";

/**
 * Overlays: an algorithm of the server and its classes as [first value, value after the last, colour, label].
 * Values of no class stay transparent.
 */
export const OVERLAYS = {
  cloud_mask: {
    label: "Clouds and shadows",
    classes: () => [[1, 2, "#ff3d8b", "Cloud"], [2, 3, "#35a7ff", "Cloud shadow"]],
  },
  cloud_probability: {
    label: "Cloud probability",
    classes: () => [[10, 30, "#fcc5c0", "10-30 %"], [30, 50, "#f768a1", "30-50 %"], [50, 70, "#c51b8a", "50-70 %"],
      [70, 101, "#7a0177", "over 70 %"]],
  },
  fill_source: {
    label: "Fill source",
    filled: true,
    classes: (count) => [
      ...Array.from({ length: Math.min(count, 254) }, (_, k) =>
        [k + 1, k + 2, SOURCE_COLOURS[k % SOURCE_COLOURS.length], `Replacement ${k + 1}`]),
      [255, 256, UNFILLED, "Not filled"],
    ],
  },
  fill_confidence: {
    label: "Fill confidence",
    filled: true,
    classes: () => [[0, 1, UNFILLED, "Not filled"], [1, 25, "#fde725", "under 25 %"], [25, 50, "#5ec962", "25-50 %"],
      [50, 75, "#21918c", "50-75 %"], [75, 100, "#3b528b", "75-99 %"]],
  },
};

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
 * @param {{bands: string[][]}} preset
 * @returns {?number[]} band numbers, or null where the image lacks one
 */
export function presetBands(names, preset) {
  const found = preset.bands.map((wanted) => 1 + Math.max(-1, names.indexOf(wanted.find((n) => names.includes(n)))));
  return found.includes(0) ? null : found;
}

/**
 * The bands to show: those asked for, if the image has them, else the first combination that it can show.
 * @param {(string | null)[]} names
 * @param {number[]} wanted
 * @returns {number[]} three, or one for images of fewer than three bands
 */
export function chooseBands(names, wanted) {
  const channels = names.length < 3 ? 1 : 3;
  if (wanted.length === channels && wanted.every((band) => band <= names.length)) return wanted;
  const fits = channels === 3 ? PRESETS.map((preset) => presetBands(names, preset)).find(Boolean) : null;
  return fits ?? [1, 2, 3].slice(0, channels);
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
 * @param {[number, number][]} ranges
 * @param {number[]} bands
 * @returns {{before: string, after: ?string, overlay: ?string}}
 */
export function tileAddresses(state, defaults, ranges, bands) {
  const scene = [["url", state.url]];
  const colours = [...bands.map((band) => ["bidx", band]), ...ranges.map((range) => ["rescale", range.join(",")])];
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
      ? tile("png", scene, overlay.filled ? [...replacements, ...parameters] : [], [["algorithm", state.overlay],
        ["colormap", colormap(overlay.classes(replacements.length))]])
      : null,
  };
}

/** @returns {string} TiTiler's colour map of intervals. */
function colormap(classes) {
  return JSON.stringify(classes.map(([low, high, colour]) =>
    [[low, high], [1, 3, 5].map((k) => parseInt(colour.slice(k, k + 2), 16)).concat(255)]));
}
