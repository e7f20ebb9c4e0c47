"""Files of the cloud models: read whole, with checksums that fit."""

from __future__ import annotations

import hashlib
import json

import numpy as np

from algorithms.errors import ModelError
from algorithms.models import CloudModel, ModelFile
from algorithms.networks import InputStatistics


def checked_file(model: CloudModel, file: ModelFile) -> bytes:
    """A file's content.

    Raises:
        ModelError: the file is missing, or its checksum differs.
    """
    remedy = model.remedy
    try:
        content = model.place(file).read_bytes()
    except (ModuleNotFoundError, OSError) as error:
        raise ModelError(f"cloud model {model.id!r}: its file {file.name} is missing; {remedy}") from error
    if (found := hashlib.sha256(content).hexdigest()) != file.sha256:
        raise ModelError(
            f"cloud model {model.id!r}: {file.name} has sha256 {found[:16]}..., "
            f"expected {file.sha256[:16]}...; {remedy}"
        )
    return content


def file_statistics(model: CloudModel, file: ModelFile) -> InputStatistics:
    """Mean and standard deviation of the training data, each (B, 1, 1).

    Raises:
        ModelError: see `checked_file`; or the file holds no such numbers for the model's bands.
    """
    content = checked_file(model, file)
    try:
        both = np.asarray(json.loads(content)["data"]["dataset_statistics"]["img"], np.float32)
        mean, std = both.reshape(2, len(model.bands), 1, 1)
    except (ValueError, LookupError, TypeError) as error:
        raise ModelError(
            f"cloud model {model.id!r}: {file.name} has no training statistics of "
            f"{len(model.bands)} bands; reinstall {model.package}"
        ) from error
    return mean, std
