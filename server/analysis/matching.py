"""Whether rasters go together: bands that a target and its replacements share, and one place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from algorithms.errors import BandError, ParameterError
from server.raster.composite import only
from server.raster.dataset import Dataset, dataset_crs
from server.raster.placing import overlap


def shared_bands(target: Dataset, others: Sequence[Dataset], shown: tuple[int, ...] | None) -> Dataset:
    """The target with those bands that every replacement has, by name; all of them where names do not say.

    Args:
        target: the target.
        others: its replacements, as `paired_bands` describes them.
        shown: numbers of the bands that the answer shows; None for all.

    Raises:
        BandError: a replacement lacks a band that is shown, or no band is common to all.
    """
    names = target.names
    lost = lacking_bands(target, others)
    lacking = {name for _, missing in lost for name in missing}
    if not lacking:
        return target
    kept = [index for index, name in zip(target.indexes, names, strict=True) if name not in lacking]
    wanted = target.indexes if shown is None else [index for index in shown if index in target.indexes]
    needed = [names[target.indexes.index(index)] for index in wanted if index not in kept]
    if needed:
        other, missing = next((other, missing) for other, missing in lost if not set(missing).isdisjoint(needed))
        alone = "give a replacement that has them" if len(others) == 1 else "leave this replacement out"
        # An export writes one file with all bands of it.
        export = "" if target.parts else "; for an export together with `--per-asset`, in Python `per_asset=True`"
        raise BandError(
            f"replacement {other.url!r} has bands {_listed(other)} and lacks "
            f"{', '.join(name for name in missing if name in needed)}: show other bands (`assets`{export}), or {alone}"
        )
    return only(target, kept)


def lacking_bands(target: Dataset, others: Sequence[Dataset]) -> list[tuple[Dataset, tuple[str, ...]]]:
    """The replacements that lack bands of the target, each with the names of these.

    Args:
        target: the target.
        others: its replacements, as `paired_bands` describes them.

    Raises:
        BandError: each lacks some, and together all.
    """
    names = [name for name in target.names if name is not None]
    if not _named(target):
        return []
    found = [(other, tuple(name for name in names if name not in other.names)) for other in others]
    lost = [(other, missing) for other, missing in found if missing]
    if not set(names).difference(*(missing for _, missing in lost)):
        each = "; ".join(f"{other.url!r} lacks {', '.join(missing)}" for other, missing in lost)
        raise BandError(
            f"no band of the target is in all replacements together ({each}): leave one of them out, or give "
            "replacements that share bands"
        )
    return lost


def paired_bands(target: Dataset, other: Dataset) -> Dataset:
    """A replacement with its bands named as they are paired with the target's.

    By name where the target's bands have one each and some are the same. By position only where names do not say
    otherwise: on either side one is not known, or both are the same, for every pair.

    Raises:
        BandError: neither is possible.
    """
    if paired_by_name(target, other):
        return other
    both = list(zip(target.names, other.names, strict=False))
    known = f"replacement {other.url!r} has bands {_listed(other)} and the target {_listed(target)}"
    if any(one is not None and two is not None and one != two for one, two in both):
        raise BandError(
            f"{known}, which cannot be paired by name: give a replacement with bands of the target, or, where the "
            "names are wrong, those of every band in its order with `bands`, which applies to both"
        )
    if len(target.names) != len(other.names):
        raise BandError(
            f"{known}: {len(other.names)} and {len(target.names)} bands without names cannot be paired by position; "
            "give a replacement with the same bands, or name the bands in both files"
        )
    return replace(other, names=target.names)


def paired_by_name(target: Dataset, other: Dataset) -> bool:
    """Whether names pair the bands of a replacement with the target's: these have one each, and some are the same."""
    return _named(target) and not set(target.names).isdisjoint(other.names)


def match_bands(target: Dataset, other: Dataset) -> tuple[int, ...]:
    """1-based band numbers of a replacement, in the order of the target's bands.

    Args:
        target: the target with bands that the replacement has, see `shared_bands`.
        other: the replacement as `paired_bands` describes it.
    """
    if _named(target):
        return tuple(other.indexes[other.names.index(name)] for name in target.names)
    return other.indexes


def _named(target: Dataset) -> bool:
    """Whether every band has a name of its own."""
    return None not in target.names and len(set(target.names)) == len(target.names)


def _listed(dataset: Dataset) -> list[str]:
    return [name or "?" for name in dataset.names]


@lru_cache(maxsize=256)
def check_overlap(target: Dataset, other: Dataset, what: str = "replacement") -> None:
    """Refuse a replacement or mask of another place.

    Raises:
        ParameterError: the two share no ground.
    """
    if overlap(other, target):
        return
    here, there = (
        f"{tuple(round(v, 3) for v in raster.bounds)} in {dataset_crs(raster).to_string()[:60]}"
        for raster in (target, other)
    )
    raise ParameterError(
        f"{what} {other.url!r} covers {there} and does not overlap "
        f"{'its replacement' if what == 'replacement_mask' else 'the target'}, {here}: "
        f"give {'another date' if what == 'replacement' else 'one'} of the same place"
    )
