/** The fields for what is compared, what lies over it, and how clouds are removed. */

import { $, capital, make, offer } from "./dom.js";
import { fillImages } from "./panel.js";
import { countOf, isClasses, label as viewLabel, legend, overlays, possible, views } from "./views.js";

/* ---- options of the removal ---- */

/** The field of an option: a slider, a list or a switch. */
function optionField({ name, description, choices, least, most, step }) {
  if (choices.length) {
    const select = make("select", { id: name, title: description });
    offer(select, choices.map((value) => [value, capital(value)]), choices[0]);
    return select;
  }
  return make("input", step
    ? { id: name, title: description, type: "range", min: least, max: most, step }
    : { id: name, title: description, type: "checkbox" });
}

/** A button that opens an option's description, for those who cannot hover over its field. */
function help({ name, description }) {
  const text = make("p", { id: `about-${name}`, className: "about", textContent: `${description}.`, hidden: true });
  const button = make("button", { type: "button", className: "help", textContent: "?", title: description });
  button.setAttribute("aria-label", `About ${name}`);
  button.setAttribute("aria-expanded", "false");
  button.setAttribute("aria-controls", text.id);
  button.addEventListener("click", () => {
    text.hidden = !text.hidden;
    button.setAttribute("aria-expanded", String(!text.hidden));
  });
  return [button, text];
}

/**
 * Make a row per option; the advanced ones stand in a part that opens.
 * @param {import("./state.js").Option[]} options
 */
export function makeOptions(options) {
  for (const option of options) {
    const { name, description, choices, step, advanced } = option;
    const field = optionField(option);
    const [button, text] = help(option);
    const title = capital(name);
    const valued = choices.length || step;
    const label = valued
      ? make("label", { htmlFor: name, textContent: title, title: description })
      : make("label", { className: "check wide", title: description }, field, ` ${title}`);
    const row = make("div", { className: "row option" }, label, ...(valued ? [field] : []));
    if (step) row.append(make("output", { htmlFor: name }));
    row.append(button);
    $(advanced ? "advanced" : "removal").append(row, text);
  }
  $("removal").append($("advanced"));
}

/** Put the options' values into their fields. */
function fillOptions(options, { parameters }) {
  for (const { name } of options) {
    const value = parameters[name];
    if (typeof value === "boolean") $(name).checked = value; else $(name).value = value;
  }
}

/** Say the values of sliders in words. */
export function fillOutputs(options, { parameters, opacity }) {
  for (const { name, step, pixels } of options) {
    if (!step) continue;
    const value = parameters[name];
    const length = pixels && `${value * pixels} px`;
    document.querySelector(`output[for=${name}]`).textContent = pixels > 1 ? `${value} (${length})` : length ?? value;
  }
  document.querySelector("output[for=opacity]").textContent = `${opacity} %`;
}

/* ---- views ---- */

/** Offer what can be seen of the scene on both sides of the bar and over them. */
export function fillViews(page) {
  const { state } = page;
  const count = countOf(page);
  const entries = views(count).map(([name, view]) => [name, view.label]);
  for (const side of ["left", "right"]) offer($(side), entries, possible(state[side], count));
  $("views").hidden = !state.url;
  const over = overlays();
  if (!over.some(([name]) => name === state.overlay)) state.overlay = over[0][0];
  offer($("overlay"), over.map(([name, view]) => [name, view.label]), state.overlay);
  $("overlay-on").checked = state.overlayOn;
  $("opacity").value = state.opacity;
}

/**
 * Explain the colours in view.
 * @param {import("./page.js").Page} page
 */
export function fillLegend(page) {
  const { state, palettes } = page;
  const count = countOf(page);
  const wanted = [possible(state.left, count), possible(state.right, count), ...(state.overlayOn ? [state.overlay] : [])];
  const shown = [...new Set(wanted.filter(isClasses))];
  const lacking = shown.filter((name) => possible(name, count) !== name);
  const items = shown.filter((name) => !lacking.includes(name)).flatMap((name) => legend(palettes[name], name, count));
  const entries = items.map(({ colour, label: text }) => {
    const swatch = make("span", { className: "swatch" });
    swatch.style.backgroundColor = colour;
    return make("li", {}, swatch, make("span", { textContent: text }));
  });
  if (shown.includes("cloud_mask") && count && state.parameters.buffer) {
    entries.push(make("li", { textContent: "Buffer not shown" }));
  }
  if (lacking.length) entries.push(make("li", { textContent: "Needs a replacement" }));
  $("legend").hidden = !shown.length;
  $("legend").replaceChildren(...entries);
}

/** Put the state into all fields but those for colours. */
export function fillFields(page) {
  const { options, state } = page;
  fillImages(state);
  fillOptions(options, state);
  fillViews(page);
  fillOutputs(options, state);
}

/** @returns {[string, string]} what the views on both sides are called */
export function sideLabels(page) {
  const { state } = page;
  const count = countOf(page);
  return [viewLabel(state.left, count), viewLabel(state.right, count)];
}

/**
 * @param {import("./page.js").Page} page
 * @param {() => void} changed called when other tiles are needed
 * @param {() => void} faded called when only the opacity is another
 */
export function connectControls(page, changed, faded) {
  const { state } = page;
  for (const { name, choices, step } of page.options) {
    $(name).addEventListener(step ? "input" : "change", ({ target }) => {
      state.parameters[name] = step ? Number(target.value) : choices.length ? target.value : target.checked;
      changed();
    });
  }
  for (const side of ["left", "right"]) {
    $(side).addEventListener("change", ({ target }) => { state[side] = target.value; changed(); });
  }
  $("overlay-on").addEventListener("change", ({ target }) => { state.overlayOn = target.checked; changed(); });
  $("overlay").addEventListener("change", ({ target }) => {
    Object.assign(state, { overlay: target.value, overlayOn: true });
    $("overlay-on").checked = true;
    changed();
  });
  $("opacity").addEventListener("input", ({ target }) => {
    state.opacity = Number(target.value);
    faded();
  });
}
