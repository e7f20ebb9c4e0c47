/** Elements of the page, and calls that wait for a pause. */

/** @returns {HTMLElement} the element of an id */
export const $ = (id) => document.getElementById(id);

/**
 * @param {string} tag
 * @param {object} [properties] of the element; text goes in as text only, never as markup
 * @param {...(Node | string)} children
 * @returns {HTMLElement} a new element
 */
export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** @returns {string} `text` with a capital */
export function capital(text) {
  return text[0].toUpperCase() + text.slice(1).replaceAll("_", " ");
}

/** @returns {(...args: any[]) => void} `action`, once, `wait` milliseconds after the last call */
export function later(action, wait) {
  let timer = 0;
  return (...args) => {
    clearTimeout(timer);
    timer = setTimeout(() => action(...args), wait);
  };
}

/**
 * Offer a choice.
 * @param {HTMLSelectElement} select
 * @param {[string, string][]} entries value and text of each
 * @param {string} value the chosen one
 */
export function offer(select, entries, value) {
  select.replaceChildren(...entries.map(([key, textContent]) => make("option", { value: key, textContent })));
  select.value = value;
}
