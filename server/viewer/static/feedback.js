/** What the page says of itself: whether it works, what failed, and how much of the view is cloud. */

import { $ } from "./dom.js";

const work = new Set(); // whatever is under way
let figures = "";

/** Note that something is under way or done, and show it. */
export function busy(what, on) {
  if (on) work.add(what); else work.delete(what);
  $("progress").hidden = work.size === 0;
  $("map").setAttribute("aria-busy", String(work.size > 0));
  $("status").textContent = work.size ? "Loading…" : figures;
}

/** @param {string} text an empty one takes the message away */
export function showError(text) {
  $("error").textContent = text;
  $("error").hidden = !text;
}

/** @param {string[]} texts what the server warns of; none takes the message away */
export function showWarnings(texts) {
  $("warning").textContent = texts.join("\n");
  $("warning").hidden = !texts.length;
}

/**
 * Say how a search goes, next to what started it.
 * @param {string} id of the message
 * @param {string} text
 * @param {boolean} failed whether it is why there is nothing
 */
export function showNote(id, text, failed = false) {
  $(id).textContent = text;
  $(id).classList.toggle("failed", failed);
}

/** Take away what no longer holds once something has changed: why a search has failed. */
export function clearFailures() {
  for (const note of document.querySelectorAll(".note.failed")) showNote(note.id, "");
}

/** Show an error, unless it is only that a request is no longer wanted. */
export function report(error) {
  if (error.name !== "AbortError") showError(error.message);
}

/** @returns {boolean} whether a message is shown */
export function failing() {
  return !$("error").hidden;
}

/** @returns {string} */
function percent(share) {
  return share > 0 && share < 0.005 ? "<1\u00a0%" : `${Math.round(100 * share)}\u00a0%`;
}

/** @param {?{cloud: number, filled: number}} found shares of the view */
export function showFigures(found) {
  figures = found ? `In view: cloud ${percent(found.cloud)}, filled ${percent(found.filled)}` : "";
  $("status").title = found ? "Of the scene in view, by the tiles that are shown; cloud with its buffer" : "";
  if (!work.size) $("status").textContent = figures;
}
