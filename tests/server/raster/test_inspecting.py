"""What GDAL reads while it opens a raster: whatever can name a file is refused, however it is written."""

import pytest

from server.errors import SourceUnreadableError
from server.raster.inspecting import Inspected

NAMING = (
    'EXTENSION["PROJ4","+proj=longlat +nadgrids=grid.gsb"]',
    'EXTENSION ("PROJ4_GRIDS","grid.gsb")',
    'PARAMETERFILE["Latitude difference file","grid.gsb"]',
    'METHOD["PROJ-based operation method"]',
    'BASEGEOGCRS["PROJ CRS string: +init=file"]',
    'METHOD["PROJ pipeline"]',
    'PROJECTION["custom_proj4"]',
)


class Content:
    """Bytes as a file."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)

    def read(self, offset: int, size: int) -> bytes:
        return self._data[offset : offset + size]

    def read_many(self, ranges: list[tuple[int, int]]) -> list[bytes]:
        return [self.read(*each) for each in ranges]


@pytest.mark.parametrize("text", NAMING)
@pytest.mark.parametrize("written", [str, str.lower, str.upper, str.swapcase])
def test_a_reference_system_that_can_name_files_is_refused(text: str, written: type[str]) -> None:
    data = b"II*\x00" + bytes(300) + written(text).encode() + bytes(300)
    seen = Inspected(Content(data), "a.tif")
    assert seen.read(0, len(data)) == b""
    assert isinstance(seen.fault, SourceUnreadableError)
    assert seen.read_many([(0, 4)]) is None


@pytest.mark.parametrize("text", ['PROJCS["WGS 84 / UTM zone 33N"]', 'METHOD["PROJ ob_tran o_proj=longlat"]', "proj"])
def test_others_are_read_as_they_are(text: str) -> None:
    data = text.encode()
    seen = Inspected(Content(data), "a.tif")
    assert seen.read(0, len(data)) == data
    assert seen.fault is None


def test_pixels_are_not_looked_at() -> None:
    seen = Inspected(Content(NAMING[0].encode()), "a.tif")
    seen.opened()
    assert seen.read(0, 9) == b"EXTENSION"
