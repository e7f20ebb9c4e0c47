/** What all parts of the page share. */

/**
 * @typedef {object} Page
 * @property {import("./state.js").State} state
 * @property {import("./state.js").Option[]} options of the removal
 * @property {import("./state.js").State["parameters"]} defaults theirs
 * @property {import("./bands.js").Style[]} styles the server's named renderings
 * @property {Object<string, object[]>} palettes colours of masks and the like
 * @property {any} offered what else the server says of itself
 * @property {?import("./scene.js").Scene} scene the loaded one
 * @property {import("./bands.js").Shown} shown
 * @property {boolean} stretching whether ranges are to be found in the picture
 * @property {L.Map} map
 * @property {(wanted: Partial<import("./state.js").State>) => Promise<void>} open shows another scene or other settings
 */

/** @type {Page} of this window */
export const page = { scene: null, shown: { bands: [], style: "", ranges: [], index: false }, stretching: false };
