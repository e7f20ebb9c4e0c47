/** What is at one place: values before and after, where they come from, and how far the fill is to be trusted. */

/* global L */

import { $, make } from "./dom.js";
import { ask } from "./server.js";
import { viewQuery } from "./views.js";

const MOST_BANDS = 16; // that a place is asked about
const DOUBLE_CLICK = 250; // milliseconds: the second click of two zooms
const CLASSES = { 0: "clear", 1: "cloud", 2: "cloud shadow" };
const UNFILLED = 255;

/** @returns {number[]} numbers of the bands that are worth showing: those with names, or the first ones */
function bandsOf({ bands }) {
  const numbers = bands.map((band, k) => (band.error ? 0 : k + 1)).filter(Boolean);
  const named = numbers.filter((number) => bands[number - 1].name);
  return (named.length ? named : numbers).slice(0, MOST_BANDS);
}

/** @returns {?number} (a - b) / (a + b) of reflectance, null where a band or a value is missing */
function ndvi({ bands }, numbers, values) {
  const reflectance = (wanted) => {
    const at = numbers.findIndex((number) => wanted.includes(bands[number - 1].name));
    if (at < 0 || values[at] === null) return null;
    const { scale, offset } = bands[numbers[at] - 1];
    return values[at] * scale + offset;
  };
  const [nir, red] = [reflectance(["nir", "nir08"]), reflectance(["red"])];
  return nir === null || red === null || nir + red === 0 ? null : (nir - red) / (nir + red);
}

/** @returns {string} */
function shown(value, digits = 1) {
  return value === null || value === undefined ? "no data" : String(Number(value.toFixed(digits)));
}

/** @returns {string} which date a pixel is from */
function sourceText(source, { dates }) {
  if (source === 0) return "the original";
  if (source === UNFILLED) return "not filled: no replacement is clear here";
  const date = dates[source - 1];
  const name = date?.id ?? date?.url.split("/").pop() ?? "";
  const when = date?.datetime ? `, ${date.datetime.slice(0, 10)}` : "";
  return `replacement ${source}${name ? ` (${name}${when})` : ""}`;
}

/**
 * Ask the server about a place.
 * @param {import("./page.js").Page} page
 * @param {L.LatLng} place
 * @param {AbortSignal} signal
 * @returns {Promise<{rows: [string, string, string][], facts: [string, string][]}>}
 */
async function look({ state, defaults, scene }, place, signal) {
  const numbers = bandsOf(scene);
  const plain = { bands: numbers, style: "", ranges: [], index: false };
  const path = `cog/point/${place.lng.toFixed(7)},${place.lat.toFixed(7)}`;
  const bands = numbers.map((number) => ["bidx", number]);
  const pixel = async (name) => {
    const asked = viewQuery(name, state, defaults, scene, plain);
    const query = asked.filter(([key]) => !["style", "bidx", "rescale"].includes(key));
    const chosen = query.some(([key]) => key === "algorithm") ? [] : bands;
    return (await ask(path, [...query, ...chosen], signal)).values;
  };
  const fills = state.replacement.length > 0;
  const [before, [mask], after, [source], [confidence]] = await Promise.all([
    pixel("original"), pixel("cloud_mask"),
    ...["filled", "fill_source", "fill_confidence"].map((name) => (fills ? pixel(name) : Promise.resolve([]))),
  ]);
  const rows = numbers.map((number, k) => [
    scene.bands[number - 1].name ?? `Band ${number}`, shown(before[k]), fills ? shown(after[k]) : "",
  ]);
  const indices = [before, after].map((values) => (values.length ? ndvi(scene, numbers, values) : null));
  if (indices[0] !== null) rows.push(["NDVI", shown(indices[0], 3), fills ? shown(indices[1], 3) : ""]);
  const buffered = mask === 0 && source > 0 && source !== UNFILLED;
  const facts = [["Mask", buffered ? "clear, in the buffer of a cloud" : CLASSES[mask] ?? "no data"]];
  if (fills && before.some((value) => value !== null)) {
    facts.push(["From", sourceText(source, scene)]);
    if (source !== UNFILLED) facts.push(["Confidence", `${shown(confidence)} %`]);
  }
  return { rows, facts };
}

/** @returns {HTMLElement[]} what was found, as a table and a list */
function described({ rows, facts }, place) {
  const fills = rows.some(([, , after]) => after);
  const cells = (tag, texts) => make("tr", {}, ...texts.map((textContent, k) => make(k ? tag : "th", { textContent })));
  const columns = fills ? 3 : 2;
  const head = make("thead", {}, cells("th", ["Band", "Original", "Cloud-free"].slice(0, columns)));
  const body = make("tbody", {}, ...rows.map((row) => cells("td", row.slice(0, columns))));
  const list = facts.flatMap(([name, text]) => [make("dt", { textContent: name }), make("dd", { textContent: text })]);
  const where = `${place.lat.toFixed(5)}, ${place.lng.toFixed(5)}`;
  return [make("p", { textContent: where }), make("table", {}, head, body), make("dl", {}, ...list)];
}

/**
 * Show the values of the places that are clicked, or with Enter those in the map's middle.
 * @param {import("./page.js").Page} page
 * @returns {() => void} takes them away
 */
export function connectValues(page) {
  const { map } = page;
  const looks = { radius: 6, weight: 2, color: "#fff", fillColor: "#1d5fa8", fillOpacity: 1, interactive: false };
  const mark = L.circleMarker([0, 0], looks);
  let running = new AbortController();
  let timer = 0;

  const fill = (...content) => $("place-values").replaceChildren(...content);

  function hide() {
    running.abort();
    mark.remove();
    $("place").hidden = true;
  }

  async function show(place) {
    if (!page.scene) return;
    running.abort();
    running = new AbortController();
    const { signal } = running;
    mark.setLatLng(place).addTo(map);
    $("place").hidden = false;
    fill(make("p", { textContent: "Looking…" }));
    try {
      fill(...described(await look(page, place, signal), place));
    } catch (error) {
      if (error.name === "AbortError") return;
      fill(make("p", { textContent: error.outside ? "Outside the scene" : error.message }));
    }
  }

  map.on("click", ({ latlng }) => {
    clearTimeout(timer);
    timer = setTimeout(() => show(latlng), DOUBLE_CLICK);
  });
  map.on("dblclick", () => clearTimeout(timer));
  map.getContainer().addEventListener("keydown", (event) => {
    if (event.target !== map.getContainer()) return;
    if (event.key === "Enter") show(map.getCenter());
    else if (event.key === "Escape") hide();
  });
  $("place-close").addEventListener("click", hide);
  return hide;
}
