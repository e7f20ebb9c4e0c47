"""What the commands `clearsky mask` and `clearsky picture` read: a scene by the server's own reader, filled or not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from rio_tiler.models import ImageData
from titiler.core.algorithm.base import BaseAlgorithm

from algorithms.styles import STYLES
from server.analysis.engine import Analysis
from server.analysis.request import Request
from server.analysis.state import make_analysis
from server.export.chosen import own_apis, with_replacements
from server.export.inputs import own_source
from server.http.looks import AskedStyle
from server.http.reader import open_request
from server.raster.sources import Sources
from server.settings import Settings


@dataclass(frozen=True, slots=True)
class Scenery:
    """A scene that a command looks at."""

    request: Request
    """The rasters, their names checked."""
    sources: Sources
    """What opens them."""
    analysis: Analysis
    """Masks and fills."""
    settings: Settings
    """Limits of what is read."""

    def preview(
        self, process: BaseAlgorithm | None, *, size: int, style: str | None = None, filled: bool = True
    ) -> ImageData:
        """The whole scene as `/preview` has it, before it is encoded.

        Args:
            process: one of the cloud algorithms; None for the target as it is.
            size: of the longer side, pixels.
            style: how it is to look as a picture; None for values.
            filled: whether replacements are used.

        Raises:
            ClearSkyError: a raster that cannot be read, or whose bands the style does not find.
        """
        request = self.request if filled else replace(self.request, replacements=(), replacement_masks=())
        asked = None if style is None else AskedStyle(STYLES[style], by_name=True)
        if asked is not None and (scene := request.scene(self.sources, request.target)) is not None:
            names = asked.style.choose([band.name for band in scene.bands])
            request = replace(request, shown=scene.asked(names))
        options: dict[str, Any] = {"sources": self.sources, "analysis": self.analysis, "settings": self.settings}
        with open_request(request, process=process, style=asked, **options) as reader:
            image = reader.preview(max_size=size)
        return image if process is None else process(image)


@contextmanager
def looking(request: Request, settings: Settings) -> Iterator[Scenery]:
    """Look at what a user's own command line names, with threads meanwhile.

    Raises:
        ClearSkyError: names that are refused, or rasters that cannot be read.
    """
    request = request.checked(own_source)
    sources = Sources.of(settings, own=[*request.sources, *own_apis(settings)])
    request = with_replacements(request.checked(sources.check), settings, sources)
    analysis = make_analysis(settings, sources)
    try:
        yield Scenery(request, sources, analysis, settings)
    finally:
        analysis.close()
