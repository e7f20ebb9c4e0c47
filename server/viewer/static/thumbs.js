/** Scenes as small pictures to click. */

import { make } from "./dom.js";
import { encode } from "./state.js";

const THUMB_PIXELS = 128;

/**
 * @param {object} shown
 * @param {string} shown.url of the scene; the server makes its picture
 * @param {string} shown.name
 * @param {string[]} shown.lines below the picture
 * @param {string} [shown.about] more of it, for those who hover
 * @param {() => void} shown.chosen called when it is clicked
 * @param {boolean} [shown.pressed] whether it is in use, where it can be
 * @param {...HTMLElement} others next to it
 * @returns {HTMLLIElement}
 */
export function thumb({ url, name, lines, about = name, chosen, pressed = undefined }, ...others) {
  const address = `cog/preview.webp?${encode([["url", url], ["max_size", THUMB_PIXELS]])}`;
  const picture = make("img", { alt: "", loading: "lazy", width: 84, height: 84, src: address });
  picture.addEventListener("error", () => picture.classList.add("missing"));
  const text = lines.filter(Boolean).map((line) => make("span", { textContent: line }));
  const button = make("button", { type: "button", className: "thumb", title: about }, picture, ...text);
  button.setAttribute("aria-label", [name, ...lines].filter(Boolean).join(", "));
  if (pressed !== undefined) button.setAttribute("aria-pressed", String(pressed));
  button.addEventListener("click", chosen);
  return make("li", {}, button, ...others);
}

/** @returns {string} the day of a time, nothing where it is not known */
export function day(datetime) {
  return datetime?.slice(0, 10) ?? "";
}
