"""The folder of model cards that `CLEARSKY_MODELS` names: all of its models can be used, or none."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Final

from algorithms.errors import ModelError
from algorithms.models import CloudModel, add_models
from server.models.cards import Card, read_card
from server.work.document import YAML_BYTES

CARD_SUFFIXES: Final = (".yaml", ".yml")
"""Ends of the names of cards."""
MOST_CARDS: Final = 64
"""Cards in a folder."""
NETWORK_BYTES: Final = 1 << 30
"""Largest network."""
_CHUNK: Final = 1 << 20


def use_models(folder: Path | str | None) -> None:
    """Make the models of a folder known to this process, in place of those of another folder.

    Raises:
        ModelError: a card is wrong, or its network is missing, too large or another file; nothing has changed then.
    """
    add_models(read_models(Path(folder)) if folder is not None else ())


def read_models(folder: Path) -> tuple[CloudModel, ...]:
    """The models of a folder, their networks checked.

    Raises:
        ModelError: see `use_models`; names file, key and remedy.
    """
    models: dict[str, CloudModel] = {}
    for file, card in read_cards(folder):
        if card.name in models:
            raise ModelError(f"{file}: name={card.name!r} also belongs to another card of this folder; choose another")
        network = network_of(file, card)
        found = _checksum(network)
        if found != card.sha256:
            raise ModelError(
                f"{file}: sha256={card.sha256[:16]}...: {card.file} has {found[:16]}...; put the file that the card "
                "means there, or write the checksum of this one (sha256sum)"
            )
        models[card.name] = card.model(folder.resolve())
    return tuple(models.values())


def read_cards(folder: Path) -> list[tuple[Path, Card]]:
    """The cards of a folder with their files, by name; networks are not looked at.

    Raises:
        ModelError: a card is wrong, there is no such folder, or too many cards are in it.
    """
    try:
        files = sorted(file for file in folder.iterdir() if file.suffix in CARD_SUFFIXES)
    except OSError as error:
        raise ModelError(
            f"CLEARSKY_MODELS={str(folder)!r} cannot be read as a folder: {error.strerror}; name that of the cards"
        ) from error
    if len(files) > MOST_CARDS:
        raise ModelError(f"CLEARSKY_MODELS={str(folder)!r} has {len(files)} cards; up to {MOST_CARDS} are read")
    return [(file, _read_card(file)) for file in files]


def _read_card(file: Path) -> Card:
    try:
        with file.open("rb") as source:
            content = source.read(YAML_BYTES + 1)
    except OSError as error:
        raise ModelError(f"{file}: cannot be read: {error.strerror}; make it readable, or remove it") from error
    return read_card(content, str(file))


def network_of(file: Path, card: Card) -> Path:
    """Where the network of a card is.

    Raises:
        ModelError: nowhere, outside of the card's folder, or it is too large.
    """
    network, folder = file.parent / card.file, file.parent.resolve()
    try:
        place = network.resolve(strict=True)
        size = place.stat().st_size
    except OSError as error:
        raise ModelError(f"{file}: file={card.file!r} is not there; put the network next to the card") from error
    if not place.is_relative_to(folder):
        raise ModelError(f"{file}: file={card.file!r} leads out of the card's folder; put the network into it")
    if not place.is_file() or size > NETWORK_BYTES:
        raise ModelError(f"{file}: file={card.file!r} is not a file of up to {NETWORK_BYTES} bytes; name the ONNX file")
    return network


def _checksum(network: Path) -> str:
    """The checksum of a file that is there.

    Raises:
        ModelError: it cannot be read.
    """
    try:
        state = network.stat()
        return _hashed(network, state.st_size, state.st_mtime_ns)
    except OSError as error:
        raise ModelError(f"{network}: cannot be read: {error.strerror}; make it readable") from error


@lru_cache(maxsize=MOST_CARDS)
def _hashed(network: Path, _size: int, _changed: int) -> str:
    digest = hashlib.sha256()
    with network.open("rb") as source:
        while chunk := source.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
