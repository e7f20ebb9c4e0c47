/** One layer on a map of any tile matrix set, in the set's own coordinates: nothing is projected here. */

/* global L */

const config = JSON.parse(document.getElementById("config").textContent);

// Leaflet's "latitude and longitude" are y and x of the tile matrix set.
const crs = L.extend({}, L.CRS.Simple, {
  transformation: new L.Transformation(1, -config.left, -1, config.top),
  scale: (zoom) => {
    const low = Math.max(0, Math.min(Math.floor(zoom), config.resolutions.length - 1));
    return 2 ** (zoom - low) / config.resolutions[low];
  },
  zoom: (scale) => {
    const wanted = 1 / scale;
    let low = config.resolutions.findIndex((resolution) => resolution <= wanted * (1 + 1e-9));
    if (low < 0) low = config.resolutions.length - 1;
    return low + Math.log2(config.resolutions[low] / wanted);
  },
});
const map = L.map("map", { crs, minZoom: config.minzoom, maxZoom: config.maxzoom + 4, attributionControl: false });
L.control.attribution({ prefix: "ClearSky" }).addTo(map);

function showError(error) {
  const place = document.getElementById("error");
  place.textContent = error.message || String(error);
  place.hidden = false;
}

async function ask(address) {
  const response = await fetch(address);
  if (response.ok) return response.status === 204 ? null : response.json();
  const body = await response.json().catch(() => ({}));
  throw new Error(body.detail || `the server answered ${response.status}`);
}

/** The extent of the data in the set's coordinates: that of the tiles that hold it on the finest level. */
function extent(tileset) {
  const limits = tileset.tileMatrixSetLimits.at(-1);
  const step = config.resolutions[Number(limits.tileMatrix)] * config.tileSize;
  return L.latLngBounds(
    [config.top - (limits.maxTileRow + 1) * step, config.left + limits.minTileCol * step],
    [config.top - limits.minTileRow * step, config.left + (limits.maxTileCol + 1) * step],
  );
}

const NOTHING = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw==";

/** Asks only for tiles that hold data. */
const Layer = L.TileLayer.extend({
  getTileUrl(coords) {
    const limits = this.options.limits.get(this._getZoomForUrl());
    const held = limits && coords.x >= limits.minTileCol && coords.x <= limits.maxTileCol
      && coords.y >= limits.minTileRow && coords.y <= limits.maxTileRow;
    return held ? L.TileLayer.prototype.getTileUrl.call(this, coords) : NOTHING;
  },
});

async function show() {
  const address = new URL(config.tilejson, location.href);
  const tileset = new URL(address);
  tileset.pathname = address.pathname.replace(`/${config.id}/tilejson.json`, `/tiles/${config.id}`);
  tileset.searchParams.set("f", "json");
  const [layer, set] = await Promise.all([ask(address), ask(tileset)]);
  const bounds = extent(set);
  map.fitBounds(bounds);
  new Layer(layer.tiles[0], {
    bounds,
    limits: new Map(set.tileMatrixSetLimits.map((limits) => [Number(limits.tileMatrix), limits])),
    tileSize: config.tileSize,
    minZoom: layer.minzoom,
    maxZoom: config.maxzoom + 4,
    maxNativeZoom: layer.maxzoom,
    noWrap: true,
    attribution: (layer.attribution || "").replace(/[<>&]/g, ""),
  }).addTo(map);
}

/** A right click: the values of the picture there. */
map.on("contextmenu", async (event) => {
  const { lat: y, lng: x } = event.latlng;
  const content = document.createElement("div");
  content.textContent = "…";
  const popup = L.popup().setLatLng(event.latlng).setContent(content).openOn(map);
  const address = new URL(config.point.replace("{lon}", x).replace("{lat}", y), location.href);
  address.searchParams.set("coord_crs", config.crs);
  try {
    const found = await ask(address);
    content.textContent = "";
    const names = found ? found.band_descriptions || found.band_names : [];
    if (names.length === 0) content.textContent = "No data here";
    names.forEach((name, i) => {
      const row = document.createElement("div");
      row.textContent = `${name || found.band_names[i]}: ${found.values[i] ?? "no data"}`;
      content.append(row);
    });
  } catch (error) {
    content.textContent = error.message;
  }
  popup.update();
});

show().catch(showError);
