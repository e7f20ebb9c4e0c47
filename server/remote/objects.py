"""Ranges of objects in S3, Google Cloud Storage and Azure, through obstore."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import unquote

import obstore
from obstore.exceptions import (
    BaseError,
    NotFoundError,
    NotModifiedError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from obstore.store import AzureStore, GCSStore, S3Store

from server.errors import SourceDeniedError, SourceFaultError, SourceMissingError, SourceTimeoutError
from server.remote.names import parse_address
from server.remote.ownkeys import profile_keys
from server.remote.redaction import redacted
from server.remote.rules import SETTING, AzureRule, GSRule, Rule, Rules, S3Rule
from server.remote.transfer import ATTEMPTS, CONNECT, Part, Stamp

if TYPE_CHECKING:
    from obstore import GetOptions
    from obstore.store import AzureConfig, GCSConfig, S3Config

_KEYS: Final = ("access_key_id", "secret_access_key", "session_token")
_NO: Final = frozenset({"no", "false", "off", "0"})


def _environment(name: str, default: str) -> bool:
    """A switch as GDAL writes it."""
    return os.environ.get(name, default).lower() not in _NO


def _s3(bucket: str, rule: Rule | None, **options: Any) -> S3Store:
    """A bucket, with the environment variables that GDAL and the AWS tools know, unless a rule says otherwise."""
    config: S3Config = {"virtual_hosted_style_request": _environment("AWS_VIRTUAL_HOSTING", "NO")}
    if host := os.environ.get("AWS_S3_ENDPOINT"):
        config["endpoint"] = host if "://" in host else f"http{'s' * _environment('AWS_HTTPS', 'YES')}://{host}"
    if _environment("AWS_NO_SIGN_REQUEST", "NO"):
        config["skip_signature"] = True
    if isinstance(rule, S3Rule):
        config |= _s3_rule(rule)
    return S3Store(bucket, config=config, **options)


def _s3_rule(rule: S3Rule) -> S3Config:
    config: S3Config = {}
    if rule.region:
        config["region"] = rule.region
    if rule.endpoint:
        config["endpoint"] = rule.endpoint.rstrip("/")
    if rule.requester_pays:
        config["request_payer"] = True
    keys = {name: os.environ[variable] for name in _KEYS if (variable := getattr(rule, name))}
    config |= cast("S3Config", keys or (profile_keys(rule.profile) if rule.profile else {}))
    if rule.anonymous is not None or rule.requester_pays or keys or rule.profile:
        config["skip_signature"] = bool(rule.anonymous)
    return config


def _gs(bucket: str, rule: Rule | None, **options: Any) -> GCSStore:
    config: GCSConfig = {}
    if isinstance(rule, GSRule):
        if rule.anonymous is not None:
            config["skip_signature"] = rule.anonymous
        if rule.endpoint:
            config["base_url"] = rule.endpoint.rstrip("/")
        if rule.service_account:
            config["service_account"] = os.environ[rule.service_account]
    return GCSStore(bucket, config=config, **options)


def _az(container: str, rule: Rule | None, **options: Any) -> AzureStore:
    config: AzureConfig = {}
    if isinstance(rule, AzureRule):
        if rule.anonymous is not None:
            config["skip_signature"] = rule.anonymous
        if rule.account:
            config["account_name"] = rule.account
        if rule.account_key:
            config["account_key"] = os.environ[rule.account_key]
    return AzureStore(container, config=config, **options)


class ObjectTransfer:
    """Fetches ranges of objects; obstore signs, retries and keeps the connections.

    Object stores are the operator's choice (the address of the service comes from the environment or a rule), so that
    there are no hosts to check here.
    """

    def __init__(self, *, timeout: float, agent: str, rules: Rules) -> None:
        self._timeout = timeout
        self._rules = rules
        limit = timedelta(seconds=timeout)
        options: dict[str, Any] = {
            "client_options": {
                "timeout": limit / ATTEMPTS,
                "connect_timeout": min(limit / ATTEMPTS, timedelta(seconds=CONNECT)),
                "user_agent": agent,
                "allow_http": True,
            },
            "retry_config": {"max_retries": ATTEMPTS - 1, "retry_timeout": limit},
        }
        kinds: dict[str, Any] = {"s3": _s3, "gs": _gs, "az": _az}
        self._store = lru_cache(maxsize=256)(lambda scheme, bucket, rule: kinds[scheme](bucket, rule, **options))

    def fetch(self, url: str, start: int, stop: int, unless: Stamp | None = None) -> Part:
        """See `Transfer.fetch`."""
        address = parse_address(url)
        rule = self._rules.of(address)
        wanted: GetOptions = {"range": (start, stop)}
        if unless and unless.etag:
            wanted["if_none_match"] = unless.etag
        try:
            store, key = self._store(address.scheme, address.host, rule), unquote(address.path[1:])
            answer = obstore.get(store, key, options=wanted)
            meta, data = answer.meta, bytes(answer.bytes())
        except NotModifiedError:
            return Part(None, unless or Stamp(0), url)
        except (NotFoundError, FileNotFoundError) as error:
            raise SourceMissingError(f"{url!r} does not exist; check bucket and key") from error
        except (PermissionDeniedError, UnauthenticatedError) as error:
            raise SourceDeniedError(
                f"{url!r} is refused by its object store; the operator can set credentials, region and requester_pays "
                f"of its bucket in the environment or with {SETTING}"
            ) from error
        except (BaseError, OSError, ValueError) as error:
            raise self._fault(url, error, rule) from error
        if len(data) != min(stop, meta["size"]) - start:
            raise SourceFaultError(f"{url!r} came with {len(data)} bytes instead of {stop - start}; try again")
        modified: datetime = meta["last_modified"]
        return Part(data, Stamp(meta["size"], meta["e_tag"], modified.astimezone(UTC).isoformat()), url)

    def _fault(self, url: str, error: Exception, rule: Rule | None) -> SourceFaultError:
        said = " ".join(str(error).split()).replace("retry_timeout", "")
        late = any(word in said.lower() for word in ("timed out", "timedout", "timeout"))
        reason = redacted(said.split(" Debug source")[0])
        for secret in filter(None, rule.secrets() if rule else ()):
            reason = reason.replace(secret, "...")
        if late:
            return SourceTimeoutError(
                f"{url!r} was not sent within {self._timeout:g} s; try again, or raise CLEARSKY_SOURCE_TIMEOUT"
            )
        return SourceFaultError(f"{url!r} cannot be fetched: {reason[:300]}")
