/** Recipes and scenes that the server offers, and whatever is dropped on the page. */

import { $, make } from "./dom.js";
import { report, showError } from "./feedback.js";
import { ask, request } from "./server.js";
import { encode, readState } from "./state.js";

const MOST_BYTES = 1 << 16; // of a file that is a recipe

/** Show a recipe as the server reads it. */
function showRecipe(page, { title, query, unseen }) {
  const { options, offered, state } = page;
  const { left, right, overlay, overlayOn, opacity, swipe, panel } = state;
  const wanted = readState(`?${encode(query)}`, options, offered.passed_on);
  const opened = page.open({ ...wanted, left, right, overlay, overlayOn, opacity, swipe, panel });
  if (unseen.length) {
    opened.then(() => showError(`${title} is shown without its ${unseen.join(", ")}; recipes/…/tiles have it.`));
  }
}

async function sendRecipe(page, text) {
  showRecipe(page, await (await request("viewer/recipe.json", { method: "POST", body: text })).json());
}

/** @returns {string} where an Item is, as it says itself */
function ownAddress(item) {
  const link = item.links?.find(({ rel }) => rel === "self");
  if (!link) throw new Error("The Item does not state its address (a link `self`), and the server reads no other.");
  return link.href;
}

/**
 * Take over text: a recipe, a STAC Item, or the address or path of a scene.
 * @param {import("./page.js").Page} page
 * @param {string} text
 * @param {boolean} replaces whether a scene is to fill clouds
 */
async function take(page, text, replaces) {
  const trimmed = text.trim();
  if (!trimmed) return;
  let url = trimmed.split(/\r?\n/).find((line) => !line.startsWith("#")); // as lists of addresses have comments
  if (trimmed.startsWith("{") || /^target\s*:/m.test(trimmed)) {
    const item = trimmed.startsWith("{") ? JSON.parse(trimmed) : {};
    if (item.type !== "Feature") {
      await sendRecipe(page, trimmed);
      return;
    }
    url = ownAddress(item);
  }
  if (replaces) await page.open({ replacement: [...new Set([...page.state.replacement, url])] });
  else await page.open({ url, replacement: [], extra: [] });
}

async function dropped(page, event) {
  const { files } = event.dataTransfer;
  const text = event.dataTransfer.getData("text/uri-list") || event.dataTransfer.getData("text/plain");
  const replaces = event.target === $("replacement");
  if (!files.length) {
    await take(page, text, replaces);
    return;
  }
  const [file] = files;
  if (file.size > MOST_BYTES || !/\.(ya?ml|json|geojson)$/i.test(file.name)) {
    const remedy = "drop an address or path, or the file of a recipe or STAC Item";
    throw new Error(`${file.name} is on your machine, where the server does not read: ${remedy}.`);
  }
  await take(page, await file.text(), replaces);
}

/** A list of names to click. */
function fillList(list, entries) {
  list.replaceChildren(...entries.map(([name, title, chosen]) => {
    const button = make("button", { type: "button", className: "entry", textContent: name, title });
    button.addEventListener("click", () => chosen().catch(report));
    return make("li", {}, button);
  }));
}

/** List what the server has, once. */
async function list(page) {
  const [{ recipes }, { scenes, more }] = await Promise.all([ask("recipes"), ask("viewer/scenes.json")]);
  fillList($("recipes"), recipes.map(({ name, title }) => [title, name, async () => {
    showRecipe(page, await ask("viewer/recipe.json", [["name", name]]));
  }]));
  fillList($("scenes"), scenes.map((path) => [path.split("/").slice(-2).join("/"), path, async () => {
    await page.open({ url: path, replacement: [], extra: [] });
  }]));
  const none = page.offered.lists_scenes ? "No recipes and no scenes." : "No recipes. The operator can have scenes listed.";
  $("library-note").textContent = recipes.length + scenes.length ? (more ? "There are more scenes than listed." : "") : none;
}

/** @param {import("./page.js").Page} page */
export function connectLibrary(page) {
  $("library").addEventListener("toggle", () => { if ($("library").open) list(page).catch(report); });
  let inside = 0; // elements that the pointer has entered with something in tow
  const mark = (change) => {
    inside = Math.max(0, inside + change);
    document.body.classList.toggle("dropping", inside > 0);
  };
  document.addEventListener("dragenter", () => mark(1));
  document.addEventListener("dragleave", () => mark(-1));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    mark(-inside);
    dropped(page, event).catch(report);
  });
}
