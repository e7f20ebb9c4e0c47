"""Keys and logins in files of the process's own user: the AWS tools' credentials, and netrc."""

from __future__ import annotations

import configparser
import netrc
import os
from collections.abc import Mapping
from pathlib import Path


def profile_keys(profile: str) -> dict[str, str]:
    """Keys of a section of the credentials file of the AWS tools.

    Raises:
        ValueError: there is no such section with keys.
    """
    path = Path(os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or Path.home() / ".aws" / "credentials").expanduser()
    parser = configparser.RawConfigParser()
    try:
        parser.read(path, encoding="utf-8")
        section = dict(parser[profile])
    except (configparser.Error, KeyError, UnicodeDecodeError):
        section = {}
    names = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
    found = {name.removeprefix("aws_"): section[name] for name in names if section.get(name)}
    if not {"access_key_id", "secret_access_key"} <= found.keys():
        raise ValueError(f"{str(path)!r} has no section {profile!r} with aws_access_key_id and aws_secret_access_key")
    return found


def logins() -> Mapping[str, tuple[str, str]]:
    """Name and password by host, of the user's netrc file; its `default` is for no host in particular, and left out.

    Raises:
        ValueError: the file cannot be read.
    """
    path = Path(os.environ.get("NETRC") or Path.home() / ".netrc").expanduser()
    try:
        hosts = netrc.netrc(str(path)).hosts
    except OSError as error:
        raise ValueError(f"netrc: {str(path)!r} cannot be read: {error.strerror or error}") from None
    except netrc.NetrcParseError as error:  # its text may contain what it stumbled over
        raise ValueError(f"netrc: {str(path)!r} is malformed in line {error.lineno}") from None
    return {
        host.lower(): (login, password)
        for host, (login, _, password) in hosts.items()
        if host != "default" and password
    }
