/** What either side of the bar can show, and the parameters by which the server makes it. */

import { alike, colourQuery } from "./bands.js";
import { changedParameters, encode } from "./state.js";

/**
 * One thing to look at.
 * @typedef {object} View
 * @property {string} label
 * @property {boolean} [filled] whether it needs a replacement
 * @property {boolean} [classes] whether it is an algorithm of the server whose colours lie over the original
 */

/** Views by name; `replacement` is the first one, `replacement-2` the second, and so on. */
const VIEWS = {
  original: { label: "Original" },
  filled: { label: "Cloud-free", filled: true },
  replacement: { label: "Replacement", filled: true },
  cloud_mask: { label: "Clouds and shadows", classes: true },
  cloud_probability: { label: "Cloud probability", classes: true },
  fill_source: { label: "Fill source", classes: true, filled: true },
  fill_confidence: { label: "Fill confidence", classes: true, filled: true },
};

/** The replacement that the server chooses. */
const AUTO = "auto";

/** The mask that is filled depends on the replacements and on these options; its buffer is not part of it. */
const MASK_OPTIONS = new Set(["sensitivity", "refine"]);

/** Parameters of the target that say how a replacement is read, too. */
const OF_ANY_DATE = new Set(["bands", "level", "nodata", "assets"]);

/**
 * @param {number} count of the replacements
 * @returns {[string, View][]} what there is to look at, by name
 */
export function views(count) {
  const others = Array.from({ length: Math.max(0, count - 1) }, (_, k) => [
    `replacement-${k + 2}`, { label: `Replacement ${k + 2}`, filled: true },
  ]);
  const entries = Object.entries(VIEWS).filter(([, { filled }]) => !filled || count > 0);
  const at = entries.findIndex(([name]) => name === "replacement") + 1;
  return at ? [...entries.slice(0, at), ...others, ...entries.slice(at)] : entries;
}

/**
 * @param {import("./page.js").Page} page
 * @returns {number} how many replacements there are; `auto` may stand for several
 */
export function countOf({ state, scene }) {
  return state.replacement.length ? Math.max(state.replacement.length, scene?.dates.length ?? 0) : 0;
}

/** @returns {[string, View][]} those whose colours lie over the original, whatever there is */
export function overlays() {
  return Object.entries(VIEWS).filter(([, { classes }]) => classes);
}

/** @returns {string} the view itself, or the original where there is no such view */
export function possible(name, count) {
  return views(count).some(([other]) => other === name) ? name : "original";
}

/** @returns {string} what a view is called */
export function label(name, count) {
  return (views(count).find(([other]) => other === name)?.[1] ?? VIEWS.original).label;
}

/** @returns {boolean} whether a view's colours lie over the original */
export function isClasses(name) {
  return Boolean(VIEWS[name]?.classes);
}

/** @returns {number} which replacement a view shows, from 0; -1 for other views */
function replacementOf(name) {
  if (name === "replacement") return 0;
  return name.startsWith("replacement-") ? Number(name.slice("replacement-".length)) - 1 : -1;
}

/**
 * The parameters of a view but for what tiles and pictures add to them.
 * @param {string} name of the view
 * @param {import("./state.js").State} state
 * @param {import("./state.js").State["parameters"]} defaults
 * @param {{names: (string | null)[], dates: {url: string, names: (string | null)[]}[]}} scene
 * @param {import("./bands.js").Shown} shown
 * @returns {[string, unknown][]}
 */
export function viewQuery(name, state, defaults, scene, shown) {
  const number = replacementOf(name);
  if (number >= 0) {
    const other = scene.dates[number] ?? { url: state.replacement[number], names: [] };
    const kept = state.extra.filter(([key]) => OF_ANY_DATE.has(key));
    return [["url", other.url], ...colourQuery(state, shown, alike(shown.bands, scene.names, other.names)), ...kept];
  }
  const fills = Boolean(VIEWS[name]?.filled) || (name === "cloud_mask" && state.replacement.length > 0);
  const colours = isClasses(name) ? [["algorithm", name]] : colourQuery(state, shown);
  const extra = state.extra.filter(([key]) => fills || !key.startsWith("replacement_"));
  const replacements = fills ? state.replacement.map((url) => ["replacement", url]) : [];
  return [["url", state.url], ...replacements, ...colours, ...optionsQuery(optionsOf(name, state, defaults)), ...extra];
}

/** Defaults are left out, so that a plain link and a default setting share the caches between here and the server. */
function optionsQuery(changed) {
  return changed.length ? [["algorithm_params", JSON.stringify(Object.fromEntries(changed))]] : [];
}

/** @returns {[string, unknown][]} the options that a view depends on, where they are not the defaults */
function optionsOf(name, state, defaults) {
  const changed = changedParameters(state, defaults);
  if (name === "cloud_mask") return changed.filter(([key]) => MASK_OPTIONS.has(key));
  return VIEWS[name]?.filled ? changed : [];
}

/**
 * @param {string} name of the view
 * @param {[string, unknown][]} query of `viewQuery`
 * @param {number} size of the tiles
 * @returns {string} address of its tiles, relative to the page
 */
export function tileAddress(name, query, size) {
  // `encode` escapes braces, so that one in a file name is not taken for a placeholder.
  const format = isClasses(name) ? "png" : "webp";
  return `cog/tiles/WebMercatorQuad/{z}/{x}/{y}.${format}?${encode([...query, ["tilesize", size]])}`;
}

/**
 * @param {import("./page.js").Page} page
 * @param {number} size of the tiles
 * @returns {import("./stage.js").Addresses} of everything in view
 */
export function stageAddresses(page, size) {
  const { state, defaults, scene, shown } = page;
  const tiles = (name) => tileAddress(name, viewQuery(name, state, defaults, scene, shown), size);
  const count = countOf(page);
  const [left, right] = [state.left, state.right].map((name) => possible(name, count)).map((name) => ({
    picture: name === "original" || isClasses(name) || !isKnown(name, page) ? null : tiles(name),
    classes: isClasses(name) ? tiles(name) : null,
  }));
  const over = state.overlayOn && possible(state.overlay, count) === state.overlay;
  return { ground: tiles("original"), left, right, overlay: over ? tiles(state.overlay) : null };
}

/** @returns {boolean} whether it is known what a view is of: not yet where `auto` is to choose it */
function isKnown(name, { state, scene }) {
  const number = replacementOf(name);
  return number < 0 || number < scene.dates.length || !state.replacement.includes(AUTO);
}

/** @returns {boolean} whether both sides of the bar show the same */
export function sameViews(page) {
  const [left, right] = [page.state.left, page.state.right].map((name) => possible(name, countOf(page)));
  return left === right;
}

/**
 * The classes of a legend that a picture can have.
 * @param {{low: number, colour: string, label: string}[]} palette of the server
 * @param {string} name of the view
 * @param {number} count of the replacements
 */
export function legend(palette, name, count) {
  return palette.filter(({ low }) => name !== "fill_source" || low <= count || low === 255);
}
