"""Whether rasters go together: bands that a target and its replacements share, and one place."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from algorithms.errors import BandError, ParameterError
from server.raster.composite import only
from server.raster.dataset import Dataset, dataset_crs
from server.raster.placing import overlap


def shared_bands(target: Dataset, others: Sequence[Dataset], shown: tuple[int, ...] | None) -> Dataset:
    """The target with those bands that every replacement has, by name.

    Where names do not say, or none is missing, all of them: `match_bands` pairs them, or says why not.

    Args:
        target: the target.
        others: its replacements.
        shown: numbers of the bands that the answer shows; None for all.

    Raises:
        BandError: a replacement lacks a band that is shown.
    """
    names = target.names
    lacking = {name: other for other, lost in reversed(lacking_bands(target, others)) for name in lost}
    if not lacking:
        return target
    kept = [index for index, name in zip(target.indexes, names, strict=True) if name not in lacking]
    wanted = target.indexes if shown is None else [index for index in shown if index in target.indexes]
    if lost := [index for index in wanted if index not in kept]:
        name = next(name for name, index in zip(names, target.indexes, strict=True) if index == lost[0] and name)
        other = lacking[name]
        raise BandError(
            f"replacement {other.url!r} has bands {[n or '?' for n in other.names]} and lacks {name}: "
            "show other bands (`assets`), or give a replacement that has it"
        )
    return only(target, kept)


def lacking_bands(target: Dataset, others: Sequence[Dataset]) -> list[tuple[Dataset, tuple[str, ...]]]:
    """The replacements that lack bands of the target, each with the names of these.

    Nothing where names do not say, or where no band would be left: these are paired by position.
    """
    names = [name for name in target.names if name is not None]
    if len(set(names)) < len(target.names):
        return []
    found = [(other, tuple(name for name in names if name not in other.names)) for other in others]
    left = set(names).difference(*(lost for _, lost in found))
    return [(other, lost) for other, lost in found if lost] if left else []


def paired_by_name(target: Dataset, other: Dataset) -> bool:
    """Whether names pair the bands of a replacement with the target's: these have one each, and some are the same."""
    names = target.names
    return None not in names and len(set(names)) == len(names) and not set(names).isdisjoint(other.names)


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
