/** What can be copied of a view: addresses, commands and files for other programs. */

import { colourQuery } from "./bands.js";
import { changedParameters, encode } from "./state.js";
import { isClasses, viewQuery } from "./views.js";

/**
 * @typedef {object} Subject what is copied
 * @property {string} base address of the service, with a slash at the end
 * @property {string} view name of the view
 * @property {string} title of the scene
 * @property {import("./state.js").State} state
 * @property {import("./state.js").State["parameters"]} defaults
 * @property {import("./scene.js").Scene} scene
 * @property {import("./bands.js").Shown} shown
 * @property {{crs: number[], degrees: number[], width: number, height: number}} box of the map, see `viewBox`
 */

/** @returns {string} text as a POSIX shell takes it */
function quoted(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'"'"'`)}'`;
}

/** @returns {string} text in markup */
function escaped(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}

/** @returns {[string, unknown][]} */
function queryOf({ view, state, defaults, scene, shown }) {
  return viewQuery(view, state, defaults, scene, shown);
}

/** @returns {"png" | "webp"} the format of pictures of a view */
function pictureFormat(view) {
  return isClasses(view) ? "png" : "webp";
}

function xyz(subject) {
  return `${subject.base}cog/tiles/WebMercatorQuad/{z}/{x}/{y}.${pictureFormat(subject.view)}?${encode(queryOf(subject))}`;
}

function tilejson(subject) {
  const query = [...queryOf(subject), ["tile_format", pictureFormat(subject.view)]];
  return `${subject.base}cog/WebMercatorQuad/tilejson.json?${encode(query)}`;
}

function wmts(subject) {
  // A comma would end the address for GDAL and QGIS.
  return `${subject.base}cog/WMTSCapabilities.xml?${encode(queryOf(subject)).replaceAll(",", "%2C")}`;
}

/** A layer definition that QGIS opens when it is dropped on its window. */
function qlr(subject) {
  const { scene, title } = subject;
  const source = `type=xyz&url=${encodeURIComponent(xyz(subject))}&zmin=0&zmax=${scene.maxzoom}`;
  return `<!DOCTYPE qgis-layer-definition>
<qlr>
  <layer-tree-group name="" expanded="1" checked="Qt::Checked">
    <layer-tree-layer id="clearsky" name="${escaped(title)}" providerKey="wms" checked="Qt::Checked"
      source="${escaped(source)}"/>
  </layer-tree-group>
  <maplayers>
    <maplayer type="raster">
      <id>clearsky</id>
      <datasource>${escaped(source)}</datasource>
      <layername>${escaped(title)}</layername>
      <provider>wms</provider>
      <srs><spatialrefsys><authid>EPSG:3857</authid></spatialrefsys></srs>
    </maplayer>
  </maplayers>
</qlr>
`;
}

/**
 * The view as a file: the pixels of the screen as a picture, or the values behind them.
 * @param {Subject} subject
 * @param {"png" | "tif"} format
 * @returns {string} address
 */
export function viewAddress(subject, format) {
  const { base, box, state, shown } = subject;
  let query = queryOf(subject);
  if (format === "tif") { // values, not how they look: the bands that are shown, or the classes
    const colours = new Set(colourQuery(state, shown).map(([name]) => name));
    const bands = isClasses(subject.view) ? [] : shown.bands.map((band) => ["bidx", band]);
    query = [...query.filter(([name]) => !colours.has(name)), ...bands];
  }
  const edges = box.crs.map((edge) => edge.toFixed(2)).join(",");
  const crs = [["coord_crs", "EPSG:3857"], ["dst_crs", "EPSG:3857"]];
  return `${base}cog/bbox/${edges}/${box.width}x${box.height}.${format}?${encode([...query, ...crs])}`;
}

function curl(subject) {
  return `curl -f ${quoted(viewAddress(subject, "tif"))} -o clearsky.tif`;
}

/** @returns {[string, unknown][]} what a view is made of, by the names that requests, Python and commands share */
function ingredients({ state, defaults }) {
  return [...state.extra, ...changedParameters(state, defaults)];
}

/** @returns {string} a value as Python writes it */
function literal(value) {
  if (typeof value === "boolean") return value ? "True" : "False";
  return typeof value === "number" ? String(value) : JSON.stringify(String(value));
}

/** Parameters that may be given several times. */
const REPEATED = /^(replacement_.*|assets)$/;

function python(subject) {
  const { state } = subject;
  const named = new Map(state.replacement.length ? [["replacement", `[${state.replacement.map(literal).join(", ")}]`]] : []);
  for (const [name, value] of ingredients(subject)) {
    if (REPEATED.test(name)) {
      named.set(name, `${named.get(name)?.slice(0, -1).concat(", ") ?? "["}${literal(value)}]`);
    } else {
      const numeric = /^(reflectance_.*|nodata)$/.test(name) && value !== "nan";
      named.set(name, numeric ? String(value) : literal(value));
    }
  }
  const given = [literal(state.url), ...[...named].map(([name, text]) => `${name}=${text}`)];
  return `import clearsky

scene = clearsky.open(
${given.map((text) => `    ${text},`).join("\n")}
)
scene.preview(${state.style ? `style=${literal(state.style)}` : ""})
`;
}

function leafmap(subject) {
  const [west, south, east, north] = subject.box.degrees;
  return `import leafmap

m = leafmap.Map(center=[${((south + north) / 2).toFixed(5)}, ${((west + east) / 2).toFixed(5)}], zoom=${subject.box.zoom})
m.add_tile_layer(
    ${literal(xyz(subject))},
    name=${literal(subject.title)},
    attribution="ClearSky",
)
m
`;
}

/** Keys of a recipe's `mask`, by the parameter of a request. */
const OF_MASK = { mask: "source", mask_remap: "remap", mask_bits: "bits", model: "model" };
/** Keys of a recipe with several values, by the parameter of a request. */
const LISTS = {
  replacement_mask: "replacement_masks", replacement_reflectance_scale: "replacement_reflectance_scales",
  replacement_reflectance_offset: "replacement_reflectance_offsets", assets: "assets", bands: "bands",
};
/** Those of them that one value of a request may have several of. */
const NAMES = new Set(["assets", "bands"]);
const NUMBERS = new Set(["reflectance_scale", "reflectance_offset", "nodata", "replacement_reflectance_scale",
  "replacement_reflectance_offset"]);

function recipe(subject) {
  const { state, defaults, shown, title } = subject;
  const name = title.replaceAll(/[^A-Za-z0-9_-]+/g, "-").replaceAll(/^-+|-+$/g, "").slice(0, 64) || "scene";
  const [mask, lists, single] = [{}, {}, {}];
  for (const [key, text] of state.extra) {
    const value = NUMBERS.has(key) && text !== "nan" ? Number(text) : text;
    if (key === "mask_bits") mask.bits = text.split(",").map(Number);
    else if (OF_MASK[key]) mask[OF_MASK[key]] = value;
    else if (LISTS[key]) (lists[LISTS[key]] ??= []).push(...(NAMES.has(key) ? text.split(",") : [value]));
    else single[key] = value;
  }
  const render = shown.ranges.length || state.bidx.length
    ? { bands: shown.bands, ...(shown.ranges.length ? { rescale: shown.ranges } : { style: shown.style }) }
    : { style: shown.style };
  const written = {
    name, title, target: state.url, ...(state.replacement.length ? { replacements: state.replacement } : {}),
    ...(Object.keys(mask).length ? { mask } : {}), ...lists, ...single,
    ...Object.fromEntries(changedParameters(state, defaults)), render,
  };
  // Every line is JSON behind its key, which is YAML.
  return `${Object.entries(written).map(([key, value]) => `${key}: ${JSON.stringify(value)}`).join("\n")}\n`;
}

function exportCommand(subject) {
  const { state } = subject;
  const parts = ["clearsky", "export", state.url, "cloud-free.tif"];
  for (const url of state.replacement) parts.push("--replacement", url);
  for (const [name, value] of ingredients(subject)) {
    const option = name.replaceAll("_", "-");
    if (typeof value === "boolean") parts.push(value ? `--${option}` : `--no-${option}`);
    else parts.push(`--${option}`, String(value));
  }
  return parts.map(quoted).join(" ");
}

/** What can be copied: name, title, and the text of a subject; `file` is what it is called on disk. */
export const SNIPPETS = [
  { name: "xyz", title: "XYZ tiles", text: xyz },
  { name: "tilejson", title: "TileJSON", text: tilejson },
  { name: "wmts", title: "WMTS", text: wmts },
  { name: "qlr", title: "QGIS layer (.qlr)", text: qlr, file: "clearsky.qlr" },
  { name: "curl", title: "curl", text: curl },
  { name: "python", title: "Python", text: python },
  { name: "leafmap", title: "Python, leafmap", text: leafmap },
  { name: "recipe", title: "Recipe (YAML)", text: recipe, file: "recipe.yaml" },
  { name: "export", title: "Export command", text: exportCommand },
];
