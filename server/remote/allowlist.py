"""Which datasets a request may name: the allow-list, applied to every dataset parameter."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from algorithms.errors import ParameterError
from server.errors import SourceForbiddenError, SourceMissingError
from server.remote.addresses import is_public_address, resolve
from server.remote.names import Address, parse_address
from server.remote.redaction import redacted
from server.remote.signatures import plain_name, unsigned
from server.settings import Settings
from server.work.readiness import Dependency

PUBLIC: Final = "https:*"
"""Entry of the list that admits every public https host."""

_REMEDY = "the operator can admit it with CLEARSKY_ALLOWED_SOURCES"
_MISSING = "does not exist; check the path"


@dataclass(frozen=True, slots=True)
class AllowList:
    """Which datasets requests may name, and which addresses they may be led to.

    Default-deny: local files only below the admitted folders (symbolic links resolved), remote ones only with
    a known scheme; without a list, or with `https:*` on it, any https host whose every address is public.
    """

    folders: tuple[Path, ...]
    """Local folders and files, links resolved; the demo scene is always one."""
    prefixes: tuple[Address, ...]
    """Addresses: they and what is below them."""
    hosts: tuple[str, ...]
    """Hosts and buckets, in lower case; a leading `*.` stands for any subdomain."""
    public: bool
    """Whether every public https host is admitted."""
    own: frozenset[Address] = frozenset()
    """Addresses that the process's own user named: who can run a command can fetch them anyway. A server has none."""

    @classmethod
    def of(cls, settings: Settings, own: Iterable[str] = ()) -> AllowList:
        """What the settings admit, and the datasets that the process's own user named.

        Args:
            settings: what the operator has set.
            own: files and addresses; what ends with a slash stands for all below it.

        Raises:
            ParameterError: an entry that cannot be understood. SourceForbiddenError: a malformed address in `own`.
        """
        folders, prefixes, hosts = [settings.demo], [], []
        for entry in settings.allowed_sources:
            if entry == PUBLIC:
                continue
            if "://" in entry and not entry.startswith("file://"):
                try:
                    prefixes.append(unsigned(parse_address(entry)))
                except SourceForbiddenError as error:
                    raise ParameterError(f"CLEARSKY_ALLOWED_SOURCES: {error}; correct the entry") from error
            elif _looks_local(entry):
                folders.append(_path(entry))
            else:
                hosts.append(entry.lower().removesuffix("."))
        named = list(own)
        folders += [Path(url) for url in named if "://" not in url]
        prefixes += [unsigned(parse_address(url)) for url in named if "://" in url and url.endswith("/")]
        return cls(
            tuple(dict.fromkeys(folder.resolve() for folder in folders)),
            tuple(prefixes),
            tuple(hosts),
            not settings.allowed_sources or PUBLIC in settings.allowed_sources,
            frozenset(unsigned(parse_address(url)) for url in named if "://" in url),
        )

    def describe(self) -> Iterator[str]:
        """What may be read, a line each."""
        yield from (f"files below {folder}{_absence(folder)}" for folder in self.folders)
        yield from (f"{prefix} and below" for prefix in self.prefixes)
        yield from (f"https, s3, gs and az on {host}" for host in self.hosts)
        yield "every public https host" if self.public else f"no other https host ({PUBLIC} admits the public ones)"

    def state(self) -> Dependency:
        """For whoever asks whether the service can work: whether the admitted folders are there."""
        folders = self.folders[1:]  # the first is the demo scene's, which is needed only where nothing else is named
        absent = sum(bool(_absence(folder)) for folder in folders)
        if absent:
            remedy = "mount them, or take them off CLEARSKY_ALLOWED_SOURCES; the server's first lines name them"
            return Dependency("degraded", f"{absent} of {len(folders)} folders or files cannot be read: {remedy}")
        return Dependency("ok", f"{len(folders)} folders and files, {len(self.prefixes) + len(self.hosts)} addresses")

    def check(self, url: str, *, folders: bool = False) -> str:
        """The dataset name to open, in its one form, if a request may name it.

        Args:
            url: as the request gives it.
            folders: whether a local folder, of a product of several files, is a name, too.

        Raises:
            SourceForbiddenError: not admitted. SourceMissingError: a local file that does not exist.
            SourceTimeoutError, SourceBusyError: its address could not be resolved.
        """
        if "\0" in url or url.lower().startswith("/vsi"):
            raise _forbid(url, "GDAL's virtual file names are not accepted")
        if url.startswith("file://"):
            return self._check_local(url, folders)
        if "://" not in url:
            if ":" in url.split("/", 1)[0]:
                raise _forbid(url, "GDAL's connection strings are not accepted")
            return self._check_local(url, folders)
        return str(self.check_address(parse_address(url)))

    def _check_local(self, url: str, folders: bool) -> str:
        try:
            # Nearly every name is a file's within a folder: a third of the time of what can say why one is not.
            name = os.path.realpath(url) if url.startswith("/") else ""
            if self._within_folders(name) and os.path.isfile(name):  # noqa: PTH113
                return name
            resolved = _path(url).resolve()
        except (OSError, ValueError, RuntimeError) as error:  # characters that no name has; links in a circle
            raise _no_file(url) from error
        if not any(resolved.is_relative_to(root) for root in self.folders):
            raise _forbid(url, "local files are served only from admitted folders")
        try:
            regular = resolved.is_file() or (folders and resolved.is_dir())
        except (OSError, ValueError) as error:  # too long
            raise _no_file(url) from error
        if not regular:
            raise _no_file(url, "is a folder; give a raster" if resolved.is_dir() else _MISSING)
        return str(resolved)

    def _within_folders(self, name: str) -> bool:
        return any(name.startswith(f"{root}/") for root in self.folders)

    def check_address(self, address: Address) -> Address:
        """An address, if a request may name it, or be led to it.

        Raises:
            SourceForbiddenError: not admitted. SourceTimeoutError, SourceBusyError: its address could not be resolved.
        """
        url = str(unsigned(address))
        if self.named(address) or (address.scheme != "http" and _host_admitted(address.host, self.hosts)):
            return address
        if address.scheme != "https":
            raise _forbid(url, "neither its host nor its prefix is on the list")
        if not self.public:
            raise _forbid(url, f"neither its host nor its prefix is on the list, nor is {PUBLIC}")
        addresses = resolve(address.host)
        if not addresses or not all(is_public_address(ip) for ip in addresses):
            raise _forbid(url, f"host {address.host!r} is unknown or has a private address")
        return address

    def may_name(self, prefix: Address) -> bool:
        """Whether some address below a prefix may be one that is admitted; asks no name server."""
        inside = any(entry.below(prefix) for entry in self.prefixes)
        listed = inside or self.named(prefix) or _host_admitted(prefix.host, self.hosts)
        return listed or (self.public and prefix.scheme == "https")

    def named(self, address: Address) -> bool:
        """Whether the list names an address by prefix: the operator's word that it may be fetched, private or not."""
        address = unsigned(address)
        return address in self.own or any(address.below(prefix) for prefix in self.prefixes)

    def vouched_for(self, url: str) -> bool:
        """Whether the operator names where a dataset comes from, rather than any public host."""
        if "://" not in url:
            return True
        address = parse_address(plain_name(url))
        return self.named(address) or _host_admitted(address.host, self.hosts)


def _looks_local(entry: str) -> bool:
    """A folder or file rather than a host name: absolute, relative with a dot, or there."""
    return entry.startswith(("/", ".", "~", "file://")) or "/" in entry or Path(entry).exists()


def _path(name: str) -> Path:
    """A local name as a path; `~` of a user that does not exist is a name like any other."""
    path = Path(name.removeprefix("file://"))
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def _absence(folder: Path) -> str:
    """A remark where there is no such folder or file."""
    try:
        folder.stat()
    except (FileNotFoundError, NotADirectoryError):
        return " (does not exist)"
    except OSError as error:
        return f" (cannot be read: {error.strerror})"
    return ""


def _host_admitted(host: str, hosts: tuple[str, ...]) -> bool:
    host = host.lower()
    return any(host == entry or (entry.startswith("*.") and host.endswith(entry[1:])) for entry in hosts)


def _forbid(url: str, why: str) -> SourceForbiddenError:
    return SourceForbiddenError(f"{redacted(url)[:200]!r} is not allowed: {why}; {_REMEDY}")


def _no_file(url: str, why: str = _MISSING) -> SourceMissingError:
    return SourceMissingError(f"{redacted(url)[:300]!r} {why}")
