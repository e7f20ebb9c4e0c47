/**
 * The page's state and its place in the address: the query names the scene and the settings in the server's own
 * parameter names where it has them, the hash the part of the map (`#zoom/lat/lon`).
 */

// Where the address does not say.
const OPACITY_PERCENT = 60; // of the overlay
const LEFT = "original";
const RIGHT = "filled";

/**
 * @typedef {object} Option of the removal, as the server declares it; a switch where there are no choices and no range
 * @property {string} name
 * @property {number | string | boolean} default
 * @property {string} description
 * @property {boolean} advanced whether it has no field; an address may carry it all the same
 * @property {string[]} choices
 * @property {number} [least]
 * @property {number} [most]
 * @property {number} [step]
 * @property {?number} [pixels] native pixels that 1 stands for, where the number is a length
 */

/**
 * @typedef {object} State
 * @property {string} url cloudy image
 * @property {string[]} replacement other dates, best first
 * @property {Object<string, number | string | boolean>} parameters of the removal: a value per option
 * @property {number[]} bidx band numbers on the screen's channels; empty: chosen from the band names
 * @property {string} style name of a style of the server's; empty: natural colour
 * @property {[number, number][]} rescale a range per channel; empty: by the style
 * @property {string} left name of the view left of the bar
 * @property {string} right name of the view right of it
 * @property {string} overlay name of the view whose colours lie over both
 * @property {boolean} overlayOn whether it is shown
 * @property {number} opacity of the overlay in percent
 * @property {?number} swipe position of the bar in percent; null: middle of the free part of the map
 * @property {?boolean} panel whether the panel is open; null: as fits the screen
 * @property {[string, string][]} extra parameters without a field, passed on to the server
 */

/** @returns {?number} the number in `text` within the limits, or null. */
function number(text, low = -Infinity, high = Infinity) {
  const value = Number(text);
  return text === null || text.trim() === "" || Number.isNaN(value) ? null : Math.min(high, Math.max(low, value));
}

/**
 * @param {?string} text of the address
 * @param {Option} option
 * @returns {number | string | boolean} the option's value nearest to the text, the default where it says nothing
 */
function readOption(text, option) {
  if (option.choices.length) return option.choices.includes(text) ? text : option.default;
  if (option.step) {
    const value = number(text, option.least, option.most);
    return value === null ? option.default : Math.round(value / option.step) * option.step;
  }
  return text === null ? option.default : text !== "false";
}

/**
 * @param {Option[]} options
 * @param {(option: Option) => any} value
 * @returns {State["parameters"]}
 */
export function parametersOf(options, value) {
  return Object.fromEntries(options.map((option) => [option.name, value(option)]));
}

/**
 * Read the state from the address.
 * @param {string} query `location.search`
 * @param {Option[]} options of the removal
 * @param {string[]} passedOn parameters of the server that the page has no field for
 * @returns {State}
 */
export function readState(query, options, passedOn) {
  const search = new URLSearchParams(query);
  const overlay = search.get("overlay");
  const ranges = search.getAll("rescale").map((text) => text.split(",").map(Number));
  return {
    url: (search.get("url") ?? "").trim(),
    replacement: search.getAll("replacement").map((text) => text.trim()).filter(Boolean),
    parameters: parametersOf(options, (option) => readOption(search.get(option.name), option)),
    bidx: search.getAll("bidx").map(Number).filter((band) => Number.isInteger(band) && band > 0).slice(0, 3),
    style: search.get("style") ?? "",
    rescale: ranges.every((range) => range.length === 2 && range[0] < range[1]) ? ranges : [],
    left: search.get("left") ?? LEFT,
    right: search.get("right") ?? RIGHT,
    overlay: overlay ?? "cloud_mask",
    overlayOn: overlay !== null,
    opacity: number(search.get("opacity"), 0, 100) ?? OPACITY_PERCENT,
    swipe: number(search.get("swipe"), 0, 100),
    panel: search.has("panel") ? search.get("panel") !== "closed" : null,
    extra: passedOn.flatMap((name) => search.getAll(name).map((value) => [name, value])),
  };
}

/**
 * The parameters of the removal that differ from the server's defaults.
 * @param {State} state
 * @param {State["parameters"]} defaults
 * @returns {[string, string | number | boolean][]}
 */
export function changedParameters(state, defaults) {
  return Object.entries(state.parameters).filter(([name, value]) => value !== defaults[name]);
}

/**
 * Percent-encode a query, but leave what is legal in one readable.
 * @param {[string, unknown][]} pairs
 * @returns {string}
 */
export function encode(pairs) {
  return new URLSearchParams(pairs.map(([name, value]) => [name, String(value)])).toString()
    .replaceAll("%2F", "/").replaceAll("%3A", ":").replaceAll("%2C", ",");
}

/**
 * The address that brings the state back.
 * @param {State} state
 * @param {State["parameters"]} defaults
 * @param {string} hash
 * @returns {string} relative address
 */
export function writeState(state, defaults, hash) {
  const pairs = state.url ? [["url", state.url]] : [];
  pairs.push(...state.replacement.map((url) => ["replacement", url]), ...changedParameters(state, defaults));
  pairs.push(...state.bidx.map((band) => ["bidx", band]));
  if (state.style) pairs.push(["style", state.style]);
  pairs.push(...state.rescale.map((range) => ["rescale", range.join(",")]));
  if (state.left !== LEFT) pairs.push(["left", state.left]);
  if (state.right !== RIGHT) pairs.push(["right", state.right]);
  if (state.overlayOn) pairs.push(["overlay", state.overlay]);
  if (state.opacity !== OPACITY_PERCENT) pairs.push(["opacity", state.opacity]);
  if (state.swipe !== null) pairs.push(["swipe", Math.round(state.swipe * 10) / 10]);
  if (state.panel !== null) pairs.push(["panel", state.panel ? "open" : "closed"]);
  pairs.push(...state.extra);
  return `${location.pathname}?${encode(pairs)}${hash}`;
}

/**
 * @param {string} hash `location.hash`
 * @returns {?{zoom: number, center: [number, number]}} the view it names
 */
export function readView(hash) {
  const [zoom, lat, lon] = hash.slice(1).split("/").map(Number);
  return Number.isFinite(zoom) && Number.isFinite(lat) && Number.isFinite(lon) ? { zoom, center: [lat, lon] } : null;
}

/**
 * @param {{map: L.Map, scene: ?object}} page
 * @returns {string} `#zoom/lat/lon`; without a scene the map has no view, and the address keeps what it had
 */
export function viewHash({ map, scene }) {
  if (!scene) return location.hash;
  const { lat, lng } = map.getCenter();
  return `#${map.getZoom()}/${lat.toFixed(5)}/${lng.toFixed(5)}`;
}
