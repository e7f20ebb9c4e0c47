"""The files of a product: in a folder, or in an archive that is read where it is."""

from __future__ import annotations

import lzma
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from server.errors import SourceUnreadableError
from server.remote.localfile import LocalFile
from server.scenes.scene import DOCUMENT_BYTES, Member

MOST_MEMBERS: Final = 10_000
LONGEST_NAME_CHARACTERS: Final = 1024
"""Of a file in a product; those of products have up to 200."""
_DAMAGE: Final = (
    OSError, ValueError, RuntimeError, KeyError, EOFError, OverflowError,
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error,
)  # fmt: skip
"""What the standard library raises on damaged archives."""


@dataclass(frozen=True, slots=True)
class ProductFiles:
    """The files of a product."""

    url: str
    """Path of the folder or archive."""
    members: Mapping[str, Member | None]
    """By name with `/` between its parts: where in the archive it begins; None in a folder, or where compressed."""

    def read(self, name: str) -> bytes:
        """A document of the product, compressed or not.

        Raises:
            SourceUnreadableError: it is too large, damaged, or a link that leads out of the folder.
        """
        try:
            if Path(self.url).is_dir():
                path = (Path(self.url) / name).resolve()
                if not path.is_relative_to(Path(self.url).resolve()):
                    raise damaged(
                        self.url, f"{name!r} is a link that leads out of the folder; put the file itself there"
                    )
                with closing(LocalFile(str(path))) as file:
                    data = file.read(0, DOCUMENT_BYTES + 1)
            elif self.url.lower().endswith(".zip"):
                with zipfile.ZipFile(self.url) as archive, archive.open(name) as file:
                    data = file.read(DOCUMENT_BYTES + 1)
            else:
                with tarfile.open(self.url, "r:") as tar:
                    found = tar.extractfile(name)
                    data = found.read(DOCUMENT_BYTES + 1) if found is not None else b""
        except _DAMAGE as error:
            raise damaged(self.url, f"{name!r} cannot be read ({error}); download it again") from error
        if len(data) > DOCUMENT_BYTES:
            raise damaged(
                self.url, f"{name!r} has more than {DOCUMENT_BYTES} bytes; name the files of its bands instead"
            )
        return data

    def place(self, name: str) -> tuple[str, Member | None]:
        """Path of the file that holds a picture, and where in it.

        Raises:
            SourceUnreadableError: it is compressed within an archive.
        """
        if Path(self.url).is_dir():
            return str(Path(self.url) / name), None
        member = self.members[name]
        if member is None:
            raise damaged(self.url, f"{name!r} is compressed within the archive; unpack it and name the folder")
        return self.url, member


def product_files(url: str) -> ProductFiles:
    """List the files of a folder, a `.zip` or an uncompressed `.tar`.

    Raises:
        SourceUnreadableError: it is none of these, or has too many files.
    """
    try:
        if Path(url).is_dir():
            members = _folder(Path(url))
        elif url.lower().endswith(".zip"):
            members = _zip(url)
        else:
            members = _tar(url)
        length = 0 if Path(url).is_dir() else Path(url).stat().st_size
        for member in members.values():
            if member is not None and not 0 <= member.offset <= member.offset + member.size <= length:
                raise ValueError(f"{member.name!r} reaches beyond its end")
    except _DAMAGE as error:
        raise damaged(url, f"it cannot be listed ({error}); give a folder, a .zip or an uncompressed .tar") from error
    return ProductFiles(url, members)


def damaged(url: str, why: str) -> SourceUnreadableError:
    """The error for a product that cannot be read."""
    return SourceUnreadableError(f"{url[:200]!r} cannot be read as a product: {why[:300]}")


def _add(members: dict[str, Member | None], name: str, member: Member | None) -> None:
    """Note a file.

    Raises:
        ValueError: one too many, or with too long a name.
    """
    if len(name) > LONGEST_NAME_CHARACTERS:
        raise ValueError(f"a name of more than {LONGEST_NAME_CHARACTERS} characters, {name[:40]!r}")
    members[name] = member
    if len(members) > MOST_MEMBERS:
        raise ValueError(f"more than {MOST_MEMBERS} files")


def _folder(folder: Path) -> dict[str, Member | None]:
    members: dict[str, Member | None] = {}
    for above, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            _add(members, (Path(above) / name).relative_to(folder).as_posix(), None)
    return members


def _zip(url: str) -> dict[str, Member | None]:
    members: dict[str, Member | None] = {}
    with zipfile.ZipFile(url) as archive, Path(url).open("rb") as file:
        for info in archive.infolist():
            stored = info.compress_type == zipfile.ZIP_STORED and not info.flag_bits & 1
            member = None
            if stored and not info.is_dir():
                file.seek(info.header_offset)
                name, extra = struct.unpack("<26x2H", file.read(30))
                start = info.header_offset + 30 + name + extra
                member = Member(info.filename, start, info.file_size)
            _add(members, info.filename, member)
    return members


def _tar(url: str) -> dict[str, Member | None]:
    members: dict[str, Member | None] = {}
    with tarfile.open(url, "r:") as archive:
        for info in archive:
            if info.isreg() and not info.issparse():
                _add(members, info.name, Member(info.name, info.offset_data, info.size))
    return members
