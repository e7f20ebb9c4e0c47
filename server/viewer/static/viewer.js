/** The page: fields, state and pictures, tied together. */

/* global L */

import { chooseColours, connectColours, fillColours } from "./colours.js";
import { connectControls, fillFields, fillLegend, fillOutputs, fillViews, makeOptions, sideLabels } from "./controls.js";
import { connectCopy } from "./copy.js";
import { $, later } from "./dom.js";
import { busy, clearFailures, failing, report, showError, showFigures, showWarnings } from "./feedback.js";
import { connectFind, forgetCandidates } from "./find.js";
import { TILE_PIXELS } from "./layers.js";
import { connectLibrary } from "./library.js";
import { fitScene, limitZoom, magnify, makeMap } from "./map.js";
import { page } from "./page.js";
import { coveredPixels, fitRows, isOpen, readImages, setPanel } from "./panel.js";
import { Progress } from "./progress.js";
import { readScene } from "./scene.js";
import { ask } from "./server.js";
import { Stage } from "./stage.js";
import { parametersOf, readState, readView, viewHash, writeState } from "./state.js";
import { makeSwipe } from "./swipe.js";
import { connectValues } from "./values.js";
import { sameViews, stageAddresses } from "./views.js";

const SETTLE = 400; // milliseconds between the last touch of a setting and new tiles

let stage = null;
let swipe = null;
let running = new AbortController(); // of the metadata requests
let forget = () => {}; // takes the values of a place away
let refill = () => {}; // brings what can be copied up to date
let stale = false; // whether bands or ranges no longer fit the state

/* ---- address ---- */

function save() {
  history.replaceState(null, "", writeState(page.state, page.defaults, viewHash(page)));
}

const saveSoon = later(save, 200);

/* ---- pictures ---- */

/** Read what the scene is, then show it. The part of the map stays if `view` names one. */
async function load(view) {
  const { state, map } = page;
  running.abort();
  running = new AbortController();
  const { signal } = running;
  showError("");
  clearFailures();
  $("hint").hidden = Boolean(state.url);
  if (page.scene?.url !== state.url) clear();
  busy(signal, true);
  try {
    if (!state.url) return;
    const former = page.scene;
    page.scene = await readScene(state, signal);
    document.title = `${state.url.split("/").pop()} - ClearSky`;
    $("stage").classList.remove("empty");
    if (!former) limitZoom(map, page.scene, coveredPixels());
    if (view) map.setView(view.center, view.zoom, { animate: false }); else if (!former) fit();
    magnify(page);
    placeSwipe();
    await stretch(signal);
    draw();
    save();
    await page.scene.complete;
    signal.throwIfAborted();
    fillViews(page);
    draw();
  } catch (error) {
    report(error);
  } finally {
    busy(signal, false);
  }
}

function clear() {
  page.scene = null;
  $("stage").classList.add("empty");
  $("colours").hidden = true;
  stage.show(null);
  $("swipe").hidden = true;
  showFigures(null);
  showWarnings([]);
  forgetCandidates();
  forget();
}

/** Choose bands and value ranges, and put them into the fields. */
async function stretch(signal) {
  page.shown = await chooseColours(page, signal);
  fillColours(page, page.shown);
}

/** Give every picture the address that fits the state; those whose address has not changed stay as they are. */
function draw() {
  const { state, scene } = page;
  if (!scene) return;
  stage.overlay.fade(state.opacity / 100);
  stage.show(stageAddresses(page, TILE_PIXELS), scene);
  $("swipe").hidden = sameViews(page);
  entitle();
  clip();
  fillLegend(page);
  refill();
}

const redrawSoon = later(async () => {
  const { signal } = running;
  // What has failed is asked for again, so that its message does not vanish without reason.
  if (failing()) stage.forget();
  showError("");
  try {
    if (stale && page.scene) await stretch(signal);
    stale = false;
    draw();
  } catch (error) {
    report(error);
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
  clearFailures();
  busy(redrawSoon, true);
  fillOutputs(page.options, page.state);
  redrawSoon();
}

/* ---- view and swipe ---- */

function fit() {
  if (page.scene) fitScene(page.map, page.scene, coveredPixels());
}

/** Put the bar where the state says, or in the middle of what the panel leaves free. */
function placeSwipe() {
  const width = $("map").clientWidth;
  swipe.set(page.state.swipe ?? ((coveredPixels() + width) / 2 / width) * 100);
  clip();
}

/** Cut the pictures at the bar. */
function clip() {
  if (!page.scene) return;
  stage.split = $("swipe").hidden ? 0 : (parseFloat($("swipe").style.left) / 100) * $("map").clientWidth;
  stage.clip();
}

/** Say what both sides show; the original where the picture of a side fails. */
function entitle() {
  const failed = stage.sides.map(({ picture, classes }) => picture.failures + classes.failures > 0);
  swipe.entitle(...sideLabels(page).map((name, k) => (failed[k] ? `Original (${name.toLowerCase()} failed)` : name)));
}

const measureSoon = later(() => {
  showFigures(page.scene && stage.figures(page.scene.bounds));
  showWarnings(stage.warnings);
  entitle();
}, 100);

/**
 * Show another scene, or other replacements.
 * @param {Partial<import("./state.js").State>} wanted what is different from now on
 */
function open(wanted) {
  const { state, scene, map } = page;
  const same = (wanted.url ?? state.url) === state.url;
  const view = same && scene ? { zoom: map.getZoom(), center: map.getCenter() } : null;
  if (!same) Object.assign(state, { bidx: [], rescale: [], style: "" });
  Object.assign(state, wanted);
  fillFields(page);
  save();
  return load(view);
}

function connect() {
  const { state, map } = page;
  $("settings").addEventListener("submit", (event) => {
    event.preventDefault();
    stage.forget();
    open(readImages());
  });
  $("replacement").addEventListener("input", fitRows);
  connectControls(page, changed, () => {
    stage.overlay.fade(state.opacity / 100);
    fillOutputs(page.options, state);
    saveSoon();
  });
  connectColours(page, changed);
  forget = connectValues(page);
  refill = connectCopy(page);
  connectFind(page);
  connectLibrary(page);
  $("toggle").addEventListener("click", () => {
    state.panel = !isOpen();
    setPanel(state.panel);
    placeSwipe();
    saveSoon();
  });
  $("fit").addEventListener("click", fit);
  map.on("move zoom resize viewreset", clip);
  map.on("resize", placeSwipe);
  map.on("zoomend", () => magnify(page));
  new ResizeObserver(() => map.invalidateSize({ animate: false })).observe($("map"));
  map.on("moveend", () => { if (page.scene) { saveSoon(); measureSoon(); } });
  addEventListener("hashchange", () => {
    const view = readView(location.hash);
    if (view && page.scene) map.setView(view.center, view.zoom);
  });
}

async function start() {
  busy(start, true);
  try {
    const offered = await ask("viewer/defaults.json");
    const { options, styles, palettes } = offered;
    const state = readState(location.search, options, offered.passed_on);
    if (!state.url && offered.url) Object.assign(state, { url: offered.url, replacement: offered.replacement });
    const map = makeMap($("map"), offered.base_map);
    const defaults = parametersOf(options, (option) => option.default);
    Object.assign(page, { options, styles, palettes, state, defaults, map, offered, open });
    const failed = (error) => { if (!failing()) showError(error.message); };
    const noteWork = (what, on) => {
      busy(what, on);
      if (on) progress.watch();
    };
    stage = new Stage(map, { busy: noteWork, failed, changed: measureSoon });
    const progress = new Progress(page, stage);
    swipe = makeSwipe($("swipe"), $("handle"), (percent) => { state.swipe = percent; clip(); saveSoon(); });
    makeOptions(options);
    fillFields(page);
    setPanel(state.panel, !state.url);
    connect();
    await load(readView(location.hash));
  } catch (error) {
    report(error);
  } finally {
    busy(start, false);
  }
}

start();
