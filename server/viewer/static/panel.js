/** The panel: open or shut, and what of the map it covers; the fields for the images. */

import { $ } from "./dom.js";

const NARROW = matchMedia("(max-width: 640px)"); // the panel is a sheet below the map there
const MOST_ROWS = 6; // of the field for replacements, before it scrolls

/** @returns {boolean} whether the panel is open */
export function isOpen() {
  return $("toggle").getAttribute("aria-expanded") === "true";
}

/** @param {?boolean} open null: as fits the screen @param {boolean} first whether there is no image yet */
export function setPanel(open, first = false) {
  const shown = open ?? (!NARROW.matches || first); // the hint for the first start is in it
  $("toggle").setAttribute("aria-expanded", String(shown));
  $("settings").hidden = !shown;
}

/** @returns {number} pixels at the map's left edge that the panel covers */
export function coveredPixels() {
  return NARROW.matches || !isOpen() ? 0 : $("panel").getBoundingClientRect().right;
}

/** Put the images' names into their fields. */
export function fillImages({ url, replacement }) {
  $("url").value = url;
  $("replacement").value = replacement.join("\n");
  fitRows();
  for (const name of ["url", "replacement"]) $(name).scrollLeft = $(name).scrollWidth; // the file name tells most
}

/** @returns {{url: string, replacement: string[]}} what the fields name */
export function readImages() {
  const lines = $("replacement").value.split("\n").map((line) => line.trim());
  return { url: $("url").value.trim(), replacement: lines.filter(Boolean) };
}

/** Give the field for replacements as many rows as it has lines. */
export function fitRows() {
  $("replacement").rows = Math.min(MOST_ROWS, $("replacement").value.split("\n").length);
}
