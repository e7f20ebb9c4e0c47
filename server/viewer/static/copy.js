/** The menu that hands a view to other programs: text to copy, files to save. */

import { $, make, offer } from "./dom.js";
import { viewBox } from "./map.js";
import { SNIPPETS, viewAddress } from "./snippets.js";
import { countOf, possible } from "./views.js";

const SAID = 2000; // milliseconds that "Copied" stays

/**
 * What is right of the bar as the subject of a snippet.
 * @param {import("./page.js").Page} page
 * @returns {import("./snippets.js").Subject}
 */
function subjectOf(page) {
  const { state, defaults, scene, shown, map } = page;
  const base = new URL("./", location.href).href;
  const name = state.url.split("?")[0].replace(/\/+$/, "").split("/").pop();
  const title = name.replace(/\.\w{2,7}$/, "") || "scene";
  const view = possible(state.right, countOf(page));
  return { base, view, title, state, defaults, scene, shown, box: { ...viewBox(map), zoom: Math.round(map.getZoom()) } };
}

/** @param {string} text @param {?HTMLTextAreaElement} field which shows it @returns {Promise<void>} */
async function copy(text, field) {
  try {
    await navigator.clipboard.writeText(text);
  } catch { // no right to, as on pages without https
    field.select();
    document.execCommand("copy");
  }
}

/** Save an address, or text, as a file. */
function save(address, name) {
  const link = make("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
}

/** @param {import("./page.js").Page} page */
export function connectCopy(page) {
  const snippet = () => SNIPPETS.find(({ name }) => name === $("snippet").value);
  const fill = () => {
    if (!$("share").open || !page.scene) return;
    const { text, file } = snippet();
    $("text").value = text(subjectOf(page));
    $("save").hidden = !file;
  };
  offer($("snippet"), SNIPPETS.map(({ name, title }) => [name, title]), "xyz");
  $("snippet").addEventListener("change", fill);
  $("share").addEventListener("toggle", fill);
  page.map.on("moveend", fill);
  $("copy").addEventListener("click", async () => {
    fill();
    await copy($("text").value, $("text"));
    $("copied").textContent = "Copied";
    setTimeout(() => { $("copied").textContent = ""; }, SAID);
  });
  $("save").addEventListener("click", () => {
    fill();
    const address = URL.createObjectURL(new Blob([$("text").value], { type: "text/plain" }));
    save(address, snippet().file);
    setTimeout(() => URL.revokeObjectURL(address), SAID);
  });
  for (const format of ["png", "tif"]) {
    $(`save-${format}`).addEventListener("click", () => {
      if (page.scene) save(viewAddress(subjectOf(page), format), `clearsky.${format}`);
    });
  }
  $("link").addEventListener("click", async () => {
    $("text").value = location.href;
    await copy(location.href, $("text"));
    $("copied").textContent = "Link copied";
    setTimeout(() => { $("copied").textContent = ""; }, SAID);
  });
  return fill;
}
