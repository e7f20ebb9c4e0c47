/** The search for scenes in a STAC API, and for other dates to fill one from. */

import { $, make } from "./dom.js";
import { busy, showNote } from "./feedback.js";
import { ask } from "./server.js";
import { day, thumb } from "./thumbs.js";

/** Parameters of the target that a ranking of dates depends on. */
const OF_TARGET = new Set(["mask", "mask_bits", "mask_remap", "model", "level", "bands", "reflectance_scale",
  "reflectance_offset"]);
const MOST_CANDIDATES = 12;

/** The server speaks of a request's parameters; here they are fields. */
const FIELD_NAMES = [
  [/^replacement=auto: /, ""],
  [/ as `url`/, " as “Cloudy image”"],
  [/ with `api=`/, " in the field “STAC API”"],
  [/^bbox=/, "Place "],
  [/^datetime=/, "From and to "],
];

/** Put the edges of the map into the field for the place, unless somebody has written there. */
function fillPlace({ map, scene, offered }) {
  const field = $("find-place");
  if (!(scene || offered.base_map) || field.dataset.own) return;
  const bounds = map.getBounds();
  const edges = [
    Math.max(-180, bounds.getWest()), bounds.getSouth(), Math.min(180, bounds.getEast()), bounds.getNorth(),
  ];
  field.value = edges.map((edge) => edge.toFixed(3)).join(", ");
}

/** @returns {string} a message of the server in the words of the page */
function inFields(message) {
  return FIELD_NAMES.reduce((text, [parameter, field]) => text.replace(parameter, field), message);
}

/** Wait for an answer and say so, or why there is none. */
async function waiting(note, work) {
  busy(work, true);
  showNote(note, "Searching…");
  try {
    showNote(note, await work());
  } catch (error) {
    showNote(note, inFields(error.message), true);
  } finally {
    busy(work, false);
  }
}

/** @returns {[string, string][]} the search as the fields have it */
function searchQuery() {
  const [first, last] = [$("find-from").value, $("find-to").value];
  const query = [["bbox", $("find-place").value.replaceAll(/\s/g, "")], ["cloud_cover", $("find-cloud").value]];
  if (first || last) query.push(["datetime", `${first || "1970-01-01"}/${last || new Date().toISOString().slice(0, 10)}`]);
  if ($("find-collection").value) query.push(["collection", $("find-collection").value.trim()]);
  if ($("find-api").value) query.push(["api", $("find-api").value.trim()]);
  return query;
}

async function search(page) {
  $("found").replaceChildren();
  const { scenes, more } = await ask("search", searchQuery());
  const entries = scenes.map(({ url, id, datetime, cloud_cover: cloud }) => {
    const title = `Fill clouds from ${id}`;
    const use = make("button", { type: "button", className: "add", textContent: "+ replacement", title });
    use.addEventListener("click", () => addReplacement(page, url));
    const lines = [day(datetime), cloud === null ? "" : `${Math.round(cloud)} % cloud`];
    const chosen = () => page.open({ url, replacement: [], extra: [] });
    return thumb({ url, name: id, lines, chosen }, use);
  });
  $("found").replaceChildren(...entries);
  if (!scenes.length) return "Nothing found: try a larger place, a longer time or more cloud.";
  return `${scenes.length} scenes${more ? ", and there are more" : ""}; click one to show it.`;
}

/** Fill from one more date. */
function addReplacement(page, url) {
  const { replacement } = page.state;
  if (!replacement.includes(url)) page.open({ replacement: [...replacement, url] });
}

/** Take away the dates found for another scene. */
export function forgetCandidates() {
  $("candidates").replaceChildren();
  showNote("suggest-note", "");
}

async function suggest(page) {
  const { state } = page;
  const { url } = state;
  $("candidates").replaceChildren();
  const own = state.extra.filter(([name]) => OF_TARGET.has(name));
  const query = [["url", url], ...own, ["limit", MOST_CANDIDATES]];
  const { candidates, target } = await ask("stac/replacements", query);
  if (state.url !== url) return ""; // another scene was opened meanwhile
  const fill = () => $("candidates").replaceChildren(...candidates.map((one) => candidate(page, one, fill)));
  fill();
  if (!candidates.length) return "No other dates found.";
  const cloud = Math.round(100 * target.cloud_fraction);
  return `${candidates.length} dates by score; ${cloud} % of the image is cloud. Click to fill from one or several.`;
}

/** One date that the image may be filled from. */
function candidate(page, { url, id, datetime, score, clear, chosen: best, reasons }, refill) {
  const used = page.state.replacement.includes(url);
  const lines = [day(datetime), `score ${score.toFixed(2)}`, clear === null ? "" : `clear ${Math.round(100 * clear)} %`];
  const about = [id, ...(best ? ["taken by replacement=auto"] : []), ...reasons].join("\n");
  const chosen = async () => {
    const others = page.state.replacement.filter((other) => other !== url);
    const opened = page.open({ replacement: used ? others : [...others, url] });
    refill();
    await opened;
  };
  return thumb({ url, name: id, lines, about, chosen, pressed: used });
}

/** @param {import("./page.js").Page} page */
export function connectFind(page) {
  const { map, offered } = page;
  if (offered.search.api) $("find-api").placeholder = offered.search.api;
  $("collections").replaceChildren(...offered.search.collections.map((value) => make("option", { value })));
  $("find-collection").placeholder = offered.search.collections[0];
  const place = $("find-place");
  place.addEventListener("input", () => {
    if (place.value) place.dataset.own = "yes"; else delete place.dataset.own;
  });
  map.on("moveend", () => fillPlace(page));
  $("find").addEventListener("toggle", () => fillPlace(page));
  $("find-cloud").addEventListener("input", ({ target }) => {
    document.querySelector("output[for=find-cloud]").textContent = `${target.value} %`;
  });
  $("find-form").addEventListener("submit", (event) => {
    event.preventDefault();
    waiting("find-note", () => search(page));
  });
  $("suggest").addEventListener("click", () => waiting("suggest-note", () => suggest(page)));
}
