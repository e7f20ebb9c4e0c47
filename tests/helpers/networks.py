"""Tiny networks and their cards: a weighted sum of the bands for each class, as ONNX."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from server.work.document import write_values


def write_network(
    path: Path,
    weights: Sequence[Sequence[float]],
    bias: Sequence[float],
    *,
    gives: str = "logits",
    side: int | None = None,
    external: bool = False,
) -> str:
    """A network that gives `weights @ bands + bias` of each cell.

    Args:
        path: the file.
        weights: (classes, bands).
        bias: of each class.
        gives: `logits`, `probabilities` or `classes`.
        side: the only size it takes; None for any.
        external: whether the weights are in another file.

    Returns:
        The checksum.
    """
    w, b = np.array(weights, np.float32)[:, :, None, None], np.array(bias, np.float32)
    nodes = [helper.make_node("Conv", ["image", "w", "b"], ["logits"])]
    last, shape, kind = "logits", [1, len(b), side or "h", side or "w"], TensorProto.FLOAT
    if gives == "probabilities":
        nodes.append(helper.make_node("Softmax", ["logits"], ["p"], axis=1))
        last = "p"
    elif gives == "classes":
        nodes.append(helper.make_node("ArgMax", ["logits"], ["k"], axis=1, keepdims=0))
        last, shape, kind = "k", [1, side or "h", side or "w"], TensorProto.INT64
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, w.shape[1], side or "h", side or "w"])],
        [helper.make_tensor_value_info(last, kind, shape)],
        [numpy_helper.from_array(w, "w"), numpy_helper.from_array(b, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(path), save_as_external_data=external, location="weights.bin", size_threshold=0)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def card(sha256: str | None, **changes: Any) -> dict[str, Any]:
    """A card of a network of red, green and near infrared, as its file is written; None leaves a key out."""
    values = {
        "name": "tiny",
        "file": "tiny.onnx",
        "sha256": sha256,
        "licence": "CC0",
        "bands": ["red", "green", "nir"],
        "normalisation": "window",
        "resolution": [10, 50],
        "output": "logits",
        "classes": ["clear", "cloud", "shadow"],
    }
    return {name: value for name, value in (values | changes).items() if value is not None}


def write_card(folder: Path, values: dict[str, Any]) -> Path:
    """Write a card under its model's name."""
    path = folder / f"{values.get('name', 'nameless')}.yaml"
    path.write_text(write_values(values))
    return path
