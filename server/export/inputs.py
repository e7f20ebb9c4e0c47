"""Which rasters a user of the command line may name: any file and any address, but only by plain names."""

from __future__ import annotations

from pathlib import Path

from algorithms.errors import ParameterError
from server.errors import SourceForbiddenError, SourceMissingError
from server.remote.names import parse_address
from server.scenes.bandlist import files_of, joined_files
from server.scenes.products import is_product, no_product


def own_source(name: str) -> str:
    """The dataset to open, or the list of files; see `_own_file`."""
    return joined_files([_own_file(file) for file in files_of(name)])


def _own_file(name: str) -> str:
    """The dataset to open for a name given on the user's own command line.

    The server's allow-list does not apply: whoever can run the command can read the file. Names
    that make GDAL open anything but the one raster named are still refused.

    Raises:
        ParameterError: an empty or virtual file name, a connection string or an unknown scheme.
        SourceMissingError: no such file. SourceUnreadableError: a folder that is no product.
    """
    if not name.strip():
        raise ParameterError("the name of a raster is empty: give its path or address")
    if "\0" in name or name.lower().startswith("/vsi"):
        raise ParameterError(f"{name!r} is one of GDAL's virtual file names; give a path or an https or s3 address")
    if "://" in name and not name.startswith("file://"):
        try:
            return str(parse_address(name))
        except SourceForbiddenError as error:
            raise ParameterError(str(error)) from error
    path = Path(name.removeprefix("file://")).expanduser()
    if not path.is_file() and not is_product(str(path)):
        if path.is_dir():
            raise no_product(name)
        raise SourceMissingError(f"{name!r} does not exist; check the path")
    return str(path.resolve())
