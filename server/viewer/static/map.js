/** The map: without background unless the operator has set one, so that the page works offline. */

/* global L */

const EDGE = 16; // pixels around a whole scene
const ZOOM_STEP = 0.25; // of the wheel and of `fit`
/** Greatest zoom: pixels of 10 m are then some hundred on the screen. */
const MOST_ZOOM = 20;
const LEAST_ZOOM = 2; // with nothing but a base map to see

/**
 * @param {HTMLElement} element
 * @param {?{url: string, attribution: string}} base map of the operator's
 * @returns {L.Map}
 */
export function makeMap(element, base) {
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const map = L.map(element, {
    zoomControl: false, fadeAnimation: !still, zoomAnimation: !still, inertia: !still, maxZoom: MOST_ZOOM,
    minZoom: LEAST_ZOOM, zoomSnap: ZOOM_STEP, zoomDelta: 1, wheelPxPerZoomLevel: 90, wheelDebounceTime: 20,
  });
  L.control.zoom({ position: "topright" }).addTo(map);
  L.control.scale({ position: "bottomright", imperial: false }).addTo(map);
  map.attributionControl.setPrefix(false).addAttribution("ClearSky, Leaflet");
  if (base) {
    const attribution = escaped(base.attribution);
    L.tileLayer(base.url, { attribution, maxZoom: MOST_ZOOM, maxNativeZoom: 18 }).addTo(map);
    map.setView([20, 0], LEAST_ZOOM); // to look for a place by hand
  }
  return map;
}

/** @returns {string} plain text as markup, which Leaflet takes attributions for */
function escaped(text) {
  const element = document.createElement("span");
  element.textContent = text;
  return element.innerHTML;
}

/**
 * Show a whole scene in the part of the map that the panel leaves free.
 * @param {L.Map} map
 * @param {{bounds: L.LatLngBounds}} scene
 * @param {number} covered pixels at the left edge
 */
export function fitScene(map, { bounds }, covered) {
  map.fitBounds(bounds, { paddingTopLeft: [covered + EDGE, EDGE], paddingBottomRight: [EDGE, EDGE], animate: false });
}

/**
 * Let nobody zoom out to where the scene is a dot: to the least useful zoom, or to where it fits as a whole.
 * @param {L.Map} map
 * @param {{bounds: L.LatLngBounds, minzoom: number}} scene
 * @param {number} covered see `fitScene`
 */
export function limitZoom(map, { bounds, minzoom }, covered) {
  const whole = map.getBoundsZoom(bounds, false, L.point(covered + 2 * EDGE, 2 * EDGE));
  map.setMinZoom(Math.max(0, Math.min(minzoom, Math.floor(whole))));
}

/** Tell the style sheet when a pixel of the scene takes more than one of the screen. */
export function magnify({ map, scene }) {
  map.getContainer().classList.toggle("magnified", scene !== null && map.getZoom() > scene.maxzoom + 1);
}

/**
 * @param {L.Map} map
 * @returns {{crs: number[], degrees: number[], width: number, height: number}} the view: its edges in metres of Web
 *   Mercator and in degrees, each west, south, east, north, and its size on the screen
 */
export function viewBox(map) {
  const bounds = map.getBounds();
  const [low, high] = [bounds.getSouthWest(), bounds.getNorthEast()].map((place) => L.CRS.EPSG3857.project(place));
  const { x, y } = map.getSize();
  const edges = [bounds.getWest(), bounds.getSouth(), bounds.getEast(), bounds.getNorth()];
  return { crs: [low.x, low.y, high.x, high.y], degrees: edges, width: x, height: y };
}
