"""QGIS against a running server, run by the Python that has QGIS: `python3 tests/clients/qgis_check.py ADDRESS`.

It opens the demo scene as XYZ and WMTS layers, as the browser panel of QGIS does, renders each, and compares the
picture with the server's own. Not part of the suite, because QGIS is 200 MB of system packages.
"""

from __future__ import annotations

import os
import sys
import urllib.request
from urllib.parse import quote, urlencode

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from qgis.core import (  # type: ignore[import-not-found]
    QgsApplication,
    QgsCoordinateReferenceSystem,
    QgsMapRendererParallelJob,
    QgsMapSettings,
    QgsRasterLayer,
    QgsRectangle,
)
from qgis.PyQt.QtCore import QSize  # type: ignore[import-not-found]
from qgis.PyQt.QtGui import QImage  # type: ignore[import-not-found]

SIDE = 400
"""Of the pictures, in pixels."""
MOST_DIFFERENT = 12.0
"""Mean difference of two pictures of the same ground, of 255: tiles are resampled once more."""


def layers(server: str, scene: str, replacement: str) -> dict[str, str]:
    """Data sources as QGIS writes them into a project."""
    query = urlencode({"url": scene, "replacement": replacement})
    tiles = f"{server}/cog/tiles/WebMercatorQuad/{{z}}/{{x}}/{{y}}.png?{query}"
    capabilities = f"{server}/cog/WMTSCapabilities.xml?{query}"
    name = scene.rpartition("/")[2].rpartition(".")[0]
    return {
        "XYZ": f"type=xyz&url={quote(tiles)}&zmin=8&zmax=14",
        "WMTS": f"crs=EPSG:3857&format=image/png&layers={name}&styles=default&tileMatrixSet=WebMercatorQuad"
        f"&url={quote(capabilities)}",
    }


def rendered(layer: QgsRasterLayer, box: QgsRectangle) -> QImage:
    """A layer as QGIS draws it."""
    settings = QgsMapSettings()
    settings.setLayers([layer])
    settings.setDestinationCrs(QgsCoordinateReferenceSystem("EPSG:3857"))
    settings.setExtent(box)
    settings.setOutputSize(QSize(SIDE, SIDE))
    job = QgsMapRendererParallelJob(settings)
    job.start()
    job.waitForFinished()
    return job.renderedImage()


def difference(one: QImage, other: QImage) -> float:
    """Mean difference of two pictures, over a grid of points and three bands."""
    total = count = 0
    for y in range(20, SIDE - 20, 4):
        for x in range(20, SIDE - 20, 4):
            a, b = one.pixelColor(x, y), other.pixelColor(x, y)
            total += abs(a.red() - b.red()) + abs(a.green() - b.green()) + abs(a.blue() - b.blue())
            count += 3
    return total / count


def main(server: str, scene: str = "demo-scene/cloudy.tif", replacement: str = "demo-scene/clear.tif") -> int:
    """Check every way; the status is that of the process."""
    application = QgsApplication([], False)
    application.initQgis()
    failed = 0
    query = urlencode({"url": scene, "replacement": replacement})
    for way, source in layers(server, scene, replacement).items():
        layer = QgsRasterLayer(source, way, "wms")
        if not layer.isValid():
            print(f"{way}: QGIS cannot open it: {layer.error().message()}")  # noqa: T201
            failed += 1
            continue
        west, south, east, north = BOX
        address = f"{server}/cog/bbox/{west},{south},{east},{north}/{SIDE}x{SIDE}.png?{query}"
        address += "&coord_crs=EPSG:3857&dst_crs=EPSG:3857"
        expected = QImage.fromData(urllib.request.urlopen(address, timeout=120).read())
        off = difference(rendered(layer, QgsRectangle(west, south, east, north)), expected)
        print(f"{way}: {'as the server shows it' if off < MOST_DIFFERENT else 'DIFFERENT'} ({off:.1f} of 255)")  # noqa: T201
        failed += off >= MOST_DIFFERENT
    application.exitQgis()
    return int(bool(failed))


BOX = (1363500.0, 5354800.0, 1368500.0, 5359800.0)
"""Inside the demo scene, of any size, in Web Mercator."""

if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
