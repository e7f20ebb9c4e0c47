/** The page: fields, state and pictures, tied together. */

/* global L */

import { makeMap, Picture } from "./layers.js";
import {
  ask, bandNames, chooseBands, legend, OVERLAYS, percentileRanges, refusal, styleBands, tileAddresses,
} from "./scene.js";
import { parametersOf, readState, readView, writeState } from "./state.js";
import { makeSwipe } from "./swipe.js";

const SETTLE = 400; // milliseconds between the last touch of a setting and new tiles
const NARROW = matchMedia("(max-width: 640px)");
const CHANNELS = { 1: ["Grey"], 3: ["Red", "Green", "Blue"] };

/** @returns {HTMLElement} */
const $ = (id) => document.getElementById(id);

/**
 * @param {string} tag
 * @param {object} [properties] of the element; text goes in as text only, never as markup
 * @param {...Node} children
 */
function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

const map = makeMap($("map"));
const report = { busy, failed: tileFailed };
const pictures = {
  // In the order of their requests: the original is there at once, the other may take its time.
  before: new Picture(map, "before", 220, report),
  after: new Picture(map, "after", 210, report),
  overlay: new Picture(map, "overlay", 230, report),
};
const swipe = makeSwipe($("swipe"), $("handle"), (percent) => { state.swipe = percent; clip(); saveSoon(); });
const work = new Set(); // whatever is under way
let options = []; // of the removal
let fields = []; // those of them that have fields
let defaults = null; // theirs
let styles = []; // the server's named renderings
let palettes = {}; // colours of the overlays
let state = null;
let scene = null; // of the loaded image: {bounds, maxzoom, names, clear: the clear image's names}
let shown = { bands: [], style: "", ranges: [], index: false };
let stretching = false; // whether ranges are to be found in the picture
let running = new AbortController(); // of the metadata requests
let stale = false; // whether bands or ranges no longer fit the state
let probing = false; // whether a failed tile is being asked for its reason
const failed = []; // tiles to ask for theirs

/* ---- feedback ---- */

/** Note that something is under way or done, and show it. */
function busy(what, on) {
  if (on) work.add(what); else work.delete(what);
  $("progress").hidden = work.size === 0;
  $("map").setAttribute("aria-busy", String(work.size > 0));
  $("status").textContent = work.size ? "Loading…" : "";
}

/** @param {string} text an empty one takes the message away */
function showError(text) {
  $("error").textContent = text;
  $("error").hidden = !text;
}

/** Note a failed tile; one after the other is asked for its reason until there is one to show. */
async function tileFailed(src) {
  failed.push({ src, signal: running.signal });
  if (probing) return;
  probing = true;
  while (failed.length && $("error").hidden) await probe(failed.shift());
  failed.length = 0;
  probing = false;
}

/** Ask for a failed tile once more to learn why: an image element tells nothing. */
async function probe({ src, signal }) {
  try {
    const answer = await fetch(src, { signal });
    const reason = answer.ok ? "Some tiles did not arrive; “Show” loads them again." : await refusal(answer);
    // The corners of a turned image's frame hold no data; that is no failure.
    if (!(answer.status === 404 && reason.includes("outside bounds"))) showError(reason);
  } catch (error) {
    if (error.name !== "AbortError") showError("The server does not answer.");
  }
}

/* ---- address ---- */

/** @returns {(...args: any[]) => void} `action`, once, `wait` after the last call */
function later(action, wait) {
  let timer = 0;
  return (...args) => {
    clearTimeout(timer);
    timer = setTimeout(() => action(...args), wait);
  };
}

/** @returns {string} `#zoom/lat/lon`; without a scene the map has no view, and the address keeps what it had */
function viewHash() {
  if (!scene) return location.hash;
  const { lat, lng } = map.getCenter();
  return `#${map.getZoom()}/${lat.toFixed(5)}/${lng.toFixed(5)}`;
}

function save() {
  history.replaceState(null, "", writeState(state, defaults, viewHash()));
}

const saveSoon = later(save, 200);

/* ---- pictures ---- */

/** Read the image's metadata, then show it. The view stays where it is if `view` names one. */
async function load(view) {
  running.abort();
  running = new AbortController();
  const { signal } = running;
  showError("");
  $("hint").hidden = Boolean(state.url);
  clearPictures();
  busy(signal, true);
  try {
    if (!state.url) return;
    const query = [["url", state.url], ...state.extra];
    const clear = clearNames(signal);
    const [info, tiles] = await Promise.all([
      ask("cog/info", query, signal), ask("cog/WebMercatorQuad/tilejson.json", query, signal),
    ]);
    const [west, south, east, north] = tiles.bounds;
    const names = bandNames(info);
    scene = { bounds: L.latLngBounds([south, west], [north, east]), maxzoom: tiles.maxzoom, names, clear };
    document.title = `${state.url.split("/").pop()} - ClearSky`;
    $("stage").classList.remove("empty");
    if (view) map.setView(view.center, view.zoom, { animate: false }); else fit();
    magnify();
    placeSwipe();
    await stretch(signal);
    draw();
    save();
  } catch (error) {
    if (error.name !== "AbortError") showError(error.message);
  } finally {
    busy(signal, false);
  }
}

function clearPictures() {
  scene = null;
  $("stage").classList.add("empty");
  $("colours").hidden = true;
  for (const picture of Object.values(pictures)) picture.show(null);
  $("swipe").hidden = true;
}

/** Choose bands and value ranges, and put them into the fields. */
async function stretch(signal) {
  const { bands, style } = chooseBands(scene.names, state, styles);
  const index = styles.some((other) => other.index && other.name === style);
  let ranges = !index && state.rescale.length === bands.length ? state.rescale : [];
  if (stretching || (!ranges.length && !style)) {
    ranges = await automaticRanges(bands, signal);
    if (stretching) state.rescale = ranges;
    stretching = false;
  }
  shown = { bands, style, ranges, index };
  $("colours").hidden = false;
  fillPresets();
  fillChannels();
}

/** Band names of the first replacement; its failure is reported where the names are needed. */
function clearNames(signal) {
  const [url] = state.replacement;
  const names = url ? ask("cog/info", [["url", url], ...state.extra], signal).then(bandNames) : Promise.resolve([]);
  names.catch(() => {});
  return names;
}

/** Percentiles of the clear image, or of the image itself where there is none or it cannot be read. */
async function automaticRanges(bands, signal) {
  const [clear] = state.replacement;
  if (clear) {
    try {
      const names = await scene.clear;
      const alike = bands.map((band) => 1 + names.indexOf(scene.names[band - 1] ?? undefined) || band);
      return await percentileRanges(clear, true, alike, state.extra, signal);
    } catch (error) {
      if (error.name === "AbortError") throw error;
      showError(error.message);
    }
  }
  return percentileRanges(state.url, false, bands, state.extra, signal);
}

/** Give every picture the address that fits the state; those whose address has not changed stay as they are. */
function draw() {
  if (!scene) return;
  const addresses = tileAddresses(state, defaults, shown);
  pictures.overlay.fade(state.opacity / 100);
  for (const [name, picture] of Object.entries(pictures)) picture.show(addresses[name], scene, name !== "overlay");
  $("swipe").hidden = !addresses.after;
  clip();
  fillLegend();
}

const redrawSoon = later(async () => {
  const { signal } = running;
  // What has failed is asked for again, so that its message does not vanish without reason.
  if (!$("error").hidden) Object.values(pictures).forEach((picture) => picture.forget());
  showError("");
  try {
    if (stale && scene) await stretch(signal);
    stale = false;
    draw();
  } catch (error) {
    if (error.name !== "AbortError") showError(error.message);
  } finally {
    busy(redrawSoon, false);
  }
  save();
}, SETTLE);

/**
 * Take over a setting: new tiles when the hand rests.
 * @param {boolean} restretch whether bands or ranges are to be chosen again
 */
function changed(restretch = false) {
  stale ||= restretch;
  busy(redrawSoon, true);
  fillOutputs();
  redrawSoon();
}

/* ---- view and swipe ---- */

/** @returns {number} pixels at the left that the panel covers */
function covered() {
  const panel = $("panel").getBoundingClientRect();
  return NARROW.matches || !isOpen() ? 0 : panel.right;
}

function fit() {
  if (!scene) return;
  const paddingTopLeft = [covered() + 16, 16];
  map.fitBounds(scene.bounds, { paddingTopLeft, paddingBottomRight: [16, 16], animate: false });
}

/** Tell the style sheet when a pixel of the image takes more than one of the screen. */
function magnify() {
  $("map").classList.toggle("magnified", scene !== null && map.getZoom() > scene.maxzoom + 1);
}

/** Put the bar where the state says, or in the middle of what the panel leaves free. */
function placeSwipe() {
  const width = $("map").clientWidth;
  swipe.set(state.swipe ?? ((covered() + width) / 2 / width) * 100);
  clip();
}

/** Cut the two pictures at the bar. */
function clip() {
  const width = $("map").clientWidth;
  const split = $("swipe").hidden ? null : (parseFloat($("swipe").style.left) / 100) * width;
  pictures.before.clip(split === null ? null : { left: 0, right: split });
  pictures.after.clip(split === null ? null : { left: split, right: width });
}

/* ---- fields ---- */

/** @returns {string} with a capital */
function title(name) {
  return name[0].toUpperCase() + name.slice(1);
}

/** The field of an option: a slider, a list or a switch. */
function optionField({ name, description, choices, least, most, step }) {
  if (choices.length) {
    return make("select", { id: name, title: description },
      ...choices.map((value) => make("option", { value, textContent: title(value) })));
  }
  return make("input", step
    ? { id: name, title: description, type: "range", min: least, max: most, step }
    : { id: name, title: description, type: "checkbox" });
}

/** A row per option; a switch stands in that of the list before it. */
function makeOptions() {
  let list = null;
  for (const option of fields) {
    const { name, choices, step } = option;
    const field = optionField(option);
    if (!choices.length && !step) {
      const label = make("label", { className: "check" }, field, ` ${title(name)}`);
      if (list) list.append(label); else $("removal").append(make("div", { className: "row" }, label));
      list = null;
      continue;
    }
    const row = make("div", { className: "row" }, make("label", { htmlFor: name, textContent: title(name) }), field);
    if (step) row.append(make("output", { htmlFor: name }));
    list = step ? null : row;
    $("removal").append(row);
  }
}

/** Put the state into the fields. */
function fillFields() {
  $("url").value = state.url;
  $("replacement").value = state.replacement.join("\n");
  $("replacement").rows = Math.min(6, Math.max(1, state.replacement.length));
  for (const name of ["url", "replacement"]) $(name).scrollLeft = $(name).scrollWidth; // the file name tells most
  for (const { name } of fields) {
    const value = state.parameters[name];
    if (typeof value === "boolean") $(name).checked = value; else $(name).value = value;
  }
  const overlays = Object.entries(OVERLAYS).map(([value, { label }]) => make("option", { value, textContent: label }));
  $("overlay").replaceChildren(...overlays);
  if (!OVERLAYS[state.overlay]) state.overlay = "cloud_mask";
  $("overlay").value = state.overlay;
  $("overlay-on").checked = state.overlayOn;
  $("opacity").value = state.opacity;
  setPanel(state.panel ?? (!NARROW.matches || !state.url)); // the hint for the first start is in it
  fillOutputs();
}

function fillOutputs() {
  for (const { name, step, pixels } of fields) {
    if (!step) continue;
    const value = state.parameters[name];
    const length = pixels && `${value * pixels} px`;
    document.querySelector(`output[for=${name}]`).textContent = pixels > 1 ? `${value} (${length})` : length ?? value;
  }
  document.querySelector("output[for=opacity]").textContent = `${state.opacity} %`;
}

/** Offer the styles that the image's bands allow. */
function fillPresets() {
  const options = styles.filter((style) => styleBands(scene.names, style));
  $("preset").replaceChildren(
    ...options.map(({ name, title }) => make("option", { value: name, textContent: title })),
    make("option", { value: "", textContent: "Own choice", disabled: true }),
  );
  $("preset").parentElement.hidden = shown.bands.length < 2;
  $("preset").value = shown.ranges.length || state.bidx.length ? "" : shown.style;
  $("auto").hidden = shown.index;
}

/** A row per channel: band, and lowest and highest value where ranges stretch them; none for an index. */
function fillChannels() {
  if (shown.index) {
    $("channels").replaceChildren();
    return;
  }
  const labels = CHANNELS[shown.bands.length];
  const rows = shown.bands.map((band, k) => {
    const limits = shown.ranges.length ? [["min", shown.ranges[k][0]], ["max", shown.ranges[k][1]]] : [];
    const options = scene.names.map((name, i) =>
      make("option", { value: i + 1, textContent: name ?? `Band ${i + 1}` }));
    const select = make("select", { id: `band-${k}`, ariaLabel: `${labels[k]}: band` }, ...options);
    select.value = band;
    const inputs = limits.map(([side, value]) => make("input", {
      id: `${side}-${k}`, type: "number", step: "any", value, ariaLabel: `${labels[k]}: ${side}`,
    }));
    const dot = make("span", { className: `dot ${labels[k].toLowerCase()}`, ariaHidden: "true" });
    return make("div", { className: "row channel" }, dot, select, ...inputs);
  });
  const head = ["", "Band", ...(shown.ranges.length ? ["min", "max"] : [])].map((textContent) => make("span", { textContent }));
  $("channels").replaceChildren(make("div", { className: "row channel head", ariaHidden: "true" }, ...head), ...rows);
}

function fillLegend() {
  const overlay = OVERLAYS[state.overlay];
  const lacking = state.overlayOn && overlay.filled && !state.replacement.length;
  const classes = legend(palettes[state.overlay], state.overlay, state.replacement.length);
  const items = classes.map(({ colour, label }) => {
    const swatch = make("span", { className: "swatch" });
    swatch.style.backgroundColor = colour;
    return make("li", {}, swatch, make("span", { textContent: label }));
  });
  $("legend").hidden = !state.overlayOn;
  $("legend").replaceChildren(...(lacking ? [make("li", { textContent: "Needs a replacement" })] : items));
}

/** @returns {boolean} whether the panel is open */
function isOpen() {
  return $("toggle").getAttribute("aria-expanded") === "true";
}

function setPanel(open) {
  $("toggle").setAttribute("aria-expanded", String(open));
  $("settings").hidden = !open;
}

/** Take over what the channel fields say. */
function channelsChanged(event) {
  if (event.target.tagName === "SELECT") {
    state.bidx = shown.bands.map((_, k) => Number($(`band-${k}`).value));
    Object.assign(state, { rescale: [], style: "" });
    changed(true);
    return;
  }
  const ranges = shown.bands.map((_, k) => [$(`min-${k}`), $(`max-${k}`)].map((field) => parseFloat(field.value)));
  ranges.forEach(([low, high], k) => {
    $(`max-${k}`).setCustomValidity(low < high ? "" : "The highest value must be above the lowest");
    $(`max-${k}`).reportValidity();
  });
  if (!ranges.every(([low, high]) => low < high)) return;
  state.rescale = ranges;
  changed(true);
}

function connect() {
  $("settings").addEventListener("submit", (event) => {
    event.preventDefault();
    const url = $("url").value.trim();
    const view = url === state.url && scene ? { zoom: map.getZoom(), center: map.getCenter() } : null;
    if (url !== state.url) Object.assign(state, { bidx: [], rescale: [], style: "" });
    const replacement = $("replacement").value.split("\n").map((line) => line.trim()).filter(Boolean);
    Object.assign(state, { url, replacement });
    save();
    load(view);
  });
  $("replacement").addEventListener("input", ({ target }) => {
    target.rows = Math.min(6, target.value.split("\n").length);
  });
  for (const { name, choices, step } of fields) {
    $(name).addEventListener(step ? "input" : "change", ({ target }) => {
      state.parameters[name] = step ? Number(target.value) : choices.length ? target.value : target.checked;
      changed();
    });
  }
  $("preset").addEventListener("change", ({ target }) => {
    Object.assign(state, { bidx: [], rescale: [], style: target.value === styles[0].name ? "" : target.value });
    changed(true);
  });
  $("auto").addEventListener("click", () => { stretching = true; changed(true); });
  $("channels").addEventListener("change", channelsChanged);
  $("channels").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.target.tagName !== "INPUT") return;
    event.preventDefault(); // a new range needs no new scene
    channelsChanged(event);
  });
  $("overlay-on").addEventListener("change", ({ target }) => { state.overlayOn = target.checked; changed(); });
  $("overlay").addEventListener("change", ({ target }) => {
    Object.assign(state, { overlay: target.value, overlayOn: true });
    $("overlay-on").checked = true;
    changed();
  });
  $("opacity").addEventListener("input", ({ target }) => {
    state.opacity = Number(target.value);
    pictures.overlay.fade(state.opacity / 100);
    fillOutputs();
    saveSoon();
  });
  $("toggle").addEventListener("click", () => {
    state.panel = !isOpen();
    setPanel(state.panel);
    placeSwipe();
    saveSoon();
  });
  $("fit").addEventListener("click", fit);
  map.on("move zoom resize viewreset", clip);
  map.on("resize", placeSwipe);
  map.on("zoomend", magnify);
  new ResizeObserver(() => map.invalidateSize({ animate: false })).observe($("map"));
  map.on("moveend", () => { if (scene) saveSoon(); });
  addEventListener("hashchange", () => {
    const view = readView(location.hash);
    if (view && scene) map.setView(view.center, view.zoom);
  });
}

async function start() {
  busy(start, true);
  try {
    const offered = await ask("viewer/defaults.json", []);
    ({ options, styles, palettes } = offered);
    fields = options.filter((option) => !option.advanced);
    defaults = parametersOf(options, (option) => option.default);
    state = readState(location.search, options, offered.passed_on);
    if (!state.url && offered.url) Object.assign(state, { url: offered.url, replacement: offered.replacement });
    makeOptions();
    fillFields();
    connect();
    await load(readView(location.hash));
  } catch (error) {
    showError(error.message);
  } finally {
    busy(start, false);
  }
}

start();
