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
  return share > 0 && share < 0.005 ? "under 1 %" : `${Math.round(100 * share)} %`;
}

/** @param {?{cloud: number, filled: number}} found shares of the view */
export function showFigures(found) {
  figures = found ? `Cloud ${percent(found.cloud)}, filled ${percent(found.filled)}` : "";
  $("status").title = found ? "Of the scene in view, by the tiles that are shown; cloud with its buffer" : "";
  if (!work.size) $("status").textContent = figures;
}

const TICK = 250; // milliseconds
let since = 0;
let clock = 0;

/**
 * Say how far the pictures of a side are while there are none.
 * @param {() => {side: number, wanted: number, done: number}[]} underway what is missing now
 * @param {(side: number) => number} middle pixels from the left edge to the middle of a side
 * @param {(side: number) => boolean} fills whether clouds are looked for to make a side
 */
export function watch(underway, middle, fills) {
  clearInterval(clock);
  since = performance.now();
  const tick = () => {
    const missing = underway().filter(({ side, wanted }) => wanted && fills(side));
    $("looking").hidden = !missing.length;
    if (!missing.length) {
      clearInterval(clock);
      clock = 0;
      return;
    }
    const [wanted, done] = ["wanted", "done"].map((key) => missing.reduce((sum, part) => sum + part[key], 0));
    const seconds = Math.round((performance.now() - since) / 1000);
    $("looking-text").textContent = done ? "Removing clouds…" : "Looking for clouds…";
    $("looking-count").textContent = `${done} of ${wanted} tiles, ${seconds} s`;
    Object.assign($("looking-bar"), { max: wanted, value: done });
    $("looking").style.left = `${middle(missing[0].side)}px`;
  };
  clock = setInterval(tick, TICK);
  tick();
}

/** Whether the watch is running. */
export function watching() {
  return clock !== 0;
}
