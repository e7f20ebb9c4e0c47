/** The fields for style, bands and ranges. */

import { chooseBands, percentileRanges, alike, styleBands } from "./bands.js";
import { $, make, offer } from "./dom.js";
import { report } from "./feedback.js";

const CHANNELS = { 1: ["Grey"], 3: ["Red", "Green", "Blue"] };

/**
 * Choose bands and value ranges.
 * @param {import("./page.js").Page} page whose `state.rescale` is set where `page.stretching` asks for it
 * @param {AbortSignal} signal
 * @returns {Promise<import("./bands.js").Shown>}
 */
export async function chooseColours(page, signal) {
  const { state, scene, styles } = page;
  const { bands, style, index } = chooseBands(scene.names, state, styles);
  let ranges = !index && state.rescale.length === bands.length ? state.rescale : [];
  if (page.stretching || (!ranges.length && !style)) {
    ranges = await automaticRanges(page, bands, signal);
    if (page.stretching) state.rescale = ranges;
    page.stretching = false;
  }
  return { bands, style, ranges, index };
}

/** Percentiles of the clear image, or of the image itself where there is none or it cannot be read. */
async function automaticRanges({ state, scene }, bands, signal) {
  await scene.complete;
  const [clear] = scene.dates;
  if (clear) {
    try {
      return await percentileRanges(clear.url, true, alike(bands, scene.names, clear.names), state.extra, signal);
    } catch (error) {
      if (error.name === "AbortError") throw error;
      report(error);
    }
  }
  return percentileRanges(state.url, false, bands, state.extra, signal);
}

/** Put what is shown into the fields. */
export function fillColours({ state, scene, styles }, shown) {
  $("colours").hidden = false;
  const fitting = styles.filter((style) => styleBands(scene.names, style));
  offer($("preset"), fitting.map(({ name, title }) => [name, title]), "");
  $("preset").append(make("option", { value: "", textContent: "Own choice", disabled: true }));
  $("preset").parentElement.hidden = shown.bands.length < 2;
  $("preset").value = shown.ranges.length || state.bidx.length ? "" : shown.style;
  $("auto").hidden = shown.index;
  fillChannels(scene, shown);
}

/** A row per channel: band, and lowest and highest value where ranges stretch them; none for an index. */
function fillChannels({ names }, shown) {
  if (shown.index) {
    $("channels").replaceChildren();
    return;
  }
  const labels = CHANNELS[shown.bands.length];
  const rows = shown.bands.map((band, k) => {
    const limits = shown.ranges.length ? [["min", shown.ranges[k][0]], ["max", shown.ranges[k][1]]] : [];
    const select = make("select", { id: `band-${k}`, ariaLabel: `${labels[k]}: band` });
    offer(select, names.map((name, i) => [i + 1, name ?? `Band ${i + 1}`]), band);
    const inputs = limits.map(([side, value]) => make("input", {
      id: `${side}-${k}`, type: "number", step: "any", value, ariaLabel: `${labels[k]}: ${side}`,
    }));
    const dot = make("span", { className: `dot ${labels[k].toLowerCase()}`, ariaHidden: "true" });
    return make("div", { className: "row channel" }, dot, select, ...inputs);
  });
  const titles = ["", "Band", ...(shown.ranges.length ? ["min", "max"] : [])];
  const head = titles.map((textContent) => make("span", { textContent }));
  $("channels").replaceChildren(make("div", { className: "row channel head", ariaHidden: "true" }, ...head), ...rows);
}

/** Take over what the channel fields say. */
function channelsChanged(event, { state, shown }, changed) {
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

/**
 * @param {import("./page.js").Page} page
 * @param {(restretch: boolean) => void} changed
 */
export function connectColours(page, changed) {
  $("preset").addEventListener("change", ({ target }) => {
    const style = target.value === page.styles[0].name ? "" : target.value;
    Object.assign(page.state, { bidx: [], rescale: [], style });
    changed(true);
  });
  $("auto").addEventListener("click", () => {
    page.stretching = true;
    $("bands").open = true; // where the ranges appear
    changed(true);
  });
  $("channels").addEventListener("change", (event) => channelsChanged(event, page, changed));
  $("channels").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.target.tagName !== "INPUT") return;
    event.preventDefault(); // a new range needs no new scene
    channelsChanged(event, page, changed);
  });
}
