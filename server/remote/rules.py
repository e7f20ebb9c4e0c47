"""Settings by prefix: how buckets and hosts are read, from the file that `CLEARSKY_SOURCES_FILE` names.

Secrets are not in the file: it names environment variables, or says that `netrc` has them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictStr,
    ValidationError,
    model_validator,
)

from algorithms.errors import ParameterError
from server.errors import SourceForbiddenError
from server.remote.names import Address, parse_address
from server.remote.ownkeys import logins, profile_keys

LARGEST_RULES_BYTES: Final = 1 << 18
"""Bytes of the file."""
SETTING: Final = "CLEARSKY_SOURCES_FILE"
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _set_variable(name: str) -> str:
    if not _VARIABLE.fullmatch(name):
        raise ValueError("give the name of an environment variable, not the secret itself")
    if not os.environ.get(name):
        raise ValueError(f"the environment variable {name} is not set")
    return name


Variable = Annotated[StrictStr, AfterValidator(_set_variable)]
"""Name of an environment variable that holds a secret."""


class Rule(BaseModel):
    """What holds for all addresses below a prefix; what is left out is as without the rule."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    def describe(self) -> str:
        """What it sets, in words; of secrets the names."""
        return ", ".join(f"{name} {value}" for name, value in self.model_dump(exclude_defaults=True).items())

    def secrets(self) -> Iterator[str]:
        """Values that no message may contain."""
        for name in ("bearer", "access_key_id", "secret_access_key", "session_token", "account_key"):
            variable: str | None = getattr(self, name, None)
            if variable:
                yield os.environ.get(variable, "")


class S3Rule(Rule):
    """A bucket of S3, or of a service that speaks its language."""

    anonymous: StrictBool | None = None
    """Whether requests go unsigned."""
    requester_pays: StrictBool = False
    """Whether the operator's account pays for what is read."""
    region: Annotated[StrictStr, Field(pattern=r"^[a-z0-9-]{1,40}$")] | None = None
    endpoint: Annotated[StrictStr, Field(pattern=r"^https?://[^\s/?#@]+/?$")] | None = None
    """Address of the service; without one Amazon's, or the environment's."""
    profile: StrictStr | None = None
    """Section of `~/.aws/credentials` that has the keys."""
    access_key_id: Variable | None = None
    secret_access_key: Variable | None = None
    session_token: Variable | None = None

    @model_validator(mode="after")
    def _consistent(self) -> S3Rule:
        keys = (self.access_key_id, self.secret_access_key)
        if (keys[0] is None) != (keys[1] is None) or (self.session_token and not keys[0]):
            raise ValueError("give access_key_id and secret_access_key together")
        if self.profile and keys[0]:
            raise ValueError("give either profile or keys")
        if self.anonymous and (self.requester_pays or self.profile or keys[0]):
            raise ValueError("anonymous contradicts requester_pays, profile and keys: these sign requests")
        if self.profile:
            profile_keys(self.profile)
        return self


class GSRule(Rule):
    """A bucket of Google Cloud Storage."""

    anonymous: StrictBool | None = None
    """Whether requests go unsigned."""
    endpoint: Annotated[StrictStr, Field(pattern=r"^https?://[^\s/?#@]+/?$")] | None = None
    service_account: Variable | None = None
    """Variable that holds the path of a service account's JSON file."""


class AzureRule(Rule):
    """A container of Azure Blob Storage."""

    account: Annotated[StrictStr, Field(pattern=r"^[a-z0-9]{3,24}$")] | None = None
    """Storage account that the container is in."""
    anonymous: StrictBool | None = None
    """Whether requests go unsigned."""
    account_key: Variable | None = None


class WebRule(Rule):
    """Addresses of a web server."""

    bearer: Variable | None = None
    """Variable that holds a token, sent to addresses below the prefix and to no others."""
    netrc: StrictBool = False
    """Whether name and password of every host on the way, and no other, are taken from the user's netrc file."""
    sign: Literal["planetary-computer"] | None = None
    """Who gives the signatures without which nothing is sent."""

    @model_validator(mode="after")
    def _consistent(self) -> WebRule:
        if sum(map(bool, (self.bearer, self.netrc, self.sign))) > 1:
            raise ValueError("give one of bearer, netrc and sign")
        if self.netrc:
            logins()
        return self

    def token(self) -> str | None:
        """The bearer token."""
        return os.environ.get(self.bearer) if self.bearer else None


_KINDS: Final[Mapping[str, type[Rule]]] = {
    "https": WebRule, "http": WebRule, "s3": S3Rule, "gs": GSRule, "az": AzureRule,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rules:
    """Rules by prefix, the longest first."""

    entries: tuple[tuple[Address, Rule], ...] = ()

    def of(self, address: Address) -> Rule | None:
        """The rule of the longest prefix that an address is below."""
        return next((rule for prefix, rule in self.entries if address.below(prefix)), None)

    @classmethod
    def read(cls, path: Path | None) -> Rules:
        """The rules in a file; none without one.

        Raises:
            ParameterError: it cannot be read, or an entry of it cannot be understood or used.
        """
        if path is None:
            return cls()
        entries: dict[Address, Rule] = {}
        for name, content in _document(path).items():
            where = f"{SETTING} ({path.name}): {name!r}"
            try:
                prefix = parse_address(name)
            except SourceForbiddenError as error:
                raise ParameterError(
                    f"{where}: {error}; write for example s3://bucket/ or https://host/path/"
                ) from error
            if prefix.query or not name.endswith("/"):
                raise ParameterError(f"{where}: a prefix ends with a slash; write for example {name.split('?')[0]}/")
            if prefix in entries:
                raise ParameterError(f"{where}: stands for the same prefix as another entry; remove one")
            entries[prefix] = _rule(where, prefix.scheme, content)
        return cls(tuple(sorted(entries.items(), key=lambda entry: -len(entry[0].path))))


def _rule(where: str, scheme: str, content: object) -> Rule:
    kind = _KINDS[scheme]
    known = ", ".join(kind.model_fields)
    if not isinstance(content, dict):
        raise ParameterError(f"{where}: needs settings below it, of {known}")
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        # Without the values: one of them may be a secret that somebody wrote into the file.
        first = error.errors(include_input=False, include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        said = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            said = f"is no setting of {scheme} addresses, which have {known}"
        raise ParameterError(f"{where}: {f'{key}: ' if key else ''}{said}") from None


class _Loader(yaml.SafeLoader):
    """YAML in which no key is twice and nothing is named."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            raise yaml.MarkedYAMLError(
                problem="aliases are not accepted", problem_mark=getattr(event, "start_mark", None)
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [str(title.value) for title, _ in node.value]
        if len(set(keys)) < len(keys):
            twice = next(key for key in keys if keys.count(key) > 1)
            raise yaml.MarkedYAMLError(problem=f"{twice!r} occurs twice", problem_mark=node.start_mark)
        return super().construct_mapping(node, deep=deep)


def _document(path: Path) -> dict[str, Any]:
    where = f"{SETTING} ({str(path)!r})"
    try:
        content = path.read_bytes()
        if len(content) > LARGEST_RULES_BYTES:
            raise ParameterError(
                f"{where}: {len(content)} bytes are more than {LARGEST_RULES_BYTES}; give a shorter file"
            )
        data = yaml.load(content, Loader=_Loader)  # noqa: S506  (a SafeLoader)
    except OSError as error:
        raise ParameterError(f"{where} cannot be read: {error.strerror or error}; correct the path") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "it is not YAML in UTF-8"
        raise ParameterError(f"{where}{line}: {problem}; correct the syntax") from None
    if data is None:
        return {}
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        raise ParameterError(f"{where}: write prefixes as keys, each with settings below it: s3://bucket/:")
    return data
