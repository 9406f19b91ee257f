"""Weights of CAM++ from the published ONNX or .pt file.

An ONNX exporter folds each BatchNorm that follows a convolution into it and may rename the weights, so names are not relied on:
the parametrised nodes of the graph are paired, in the order of execution, with the layers of our model. A folded BatchNorm
becomes the identity with the folded bias. Every weight of the file must be used and every shape must match.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from cineforge_hf.errors import UsageError
from cineforge_hf.modeling.campplus.configuration_campplus import CampPlusConfig
from cineforge_hf.modeling.campplus.modeling_campplus import CampPlusModel
from cineforge_hf.modeling.weights import OnnxGraph, load_torch_file, load_weights

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def load_campplus(path: str | Path, config: CampPlusConfig | None = None) -> CampPlusModel:
    """Reads a published speaker encoder.

    Args:
        path: `campplus.onnx` (or `camplus.onnx`), or a `.pt` or `.bin` file with its state dict.
        config: the sizes; the released ones by default.

    Returns:
        The model in evaluation mode.

    Raises:
        UsageError: the file is damaged or is no CAM++ of these sizes.
    """
    path = Path(path)
    model = CampPlusModel(config or CampPlusConfig()).eval()
    if path.suffix == ".onnx":
        state = _state_from_onnx(OnnxGraph.open(path), model)
    else:
        state = load_torch_file(path)
        for name, value in model.state_dict().items():
            if name.endswith("num_batches_tracked"):
                state.setdefault(name, value)
    load_weights(model, state, path)
    return model


def _state_from_onnx(graph: OnnxGraph, model: CampPlusModel) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = {}
    nodes = graph.nodes("Conv", "BatchNormalization")
    folded: torch.Tensor | None = None
    for name, module in _execution_order(model):
        if isinstance(module, _NORMS) and folded is not None:
            state |= _identity_norm(name, module, folded)
            folded = None
            continue
        op = "BatchNormalization" if isinstance(module, _NORMS) else "Conv"
        node = next(nodes, None)
        if node is None or node.op_type != op:
            found = "the end of the graph" if node is None else node.op_type
            raise UsageError(f"{graph.path}: expected {op} for {name}, found {found}; is this a CAM++ speaker encoder?")
        tensors = [graph.tensor(i) for i in node.input[1:]]
        if op == "BatchNormalization":
            keys = ("weight", "bias", "running_mean", "running_var")
            state |= {f"{name}.{key}": value for key, value in zip(keys, tensors, strict=True)}
            state[f"{name}.num_batches_tracked"] = torch.tensor(0)
            if not module.affine:
                _drop_unit_affine(graph, name, state)
            continue
        state[f"{name}.weight"] = tensors[0]
        if len(tensors) > 1 and module.bias is not None:
            state[f"{name}.bias"] = tensors[1]
        elif len(tensors) > 1:
            folded = tensors[1]
    if (extra := next(nodes, None)) is not None:
        raise UsageError(f"{graph.path}: node {extra.name or extra.op_type!r} has no counterpart in CAM++")
    return state


def _execution_order(model: CampPlusModel) -> list[tuple[str, Any]]:
    """Convolutions and BatchNorms in the order in which they run."""
    order: list[tuple[str, Any]] = []
    handles = []
    for name, module in model.named_modules():
        if isinstance(module, (nn.Conv1d, nn.Conv2d, *_NORMS)):
            handles.append(module.register_forward_hook(lambda m, *_, name=name: order.append((name, m))))
    with torch.no_grad():
        model(torch.zeros(1, 8, model.config.num_mel_bins))
    for handle in handles:
        handle.remove()
    return order


def _identity_norm(name: str, module: Any, bias: torch.Tensor) -> dict[str, torch.Tensor]:
    ones = torch.ones_like(bias)
    return {
        f"{name}.weight": ones * (1 + module.eps) ** 0.5,
        f"{name}.bias": bias,
        f"{name}.running_mean": torch.zeros_like(bias),
        f"{name}.running_var": ones,
        f"{name}.num_batches_tracked": torch.tensor(0),
    }


def _drop_unit_affine(graph: OnnxGraph, name: str, state: dict[str, torch.Tensor]) -> None:
    weight, bias = state.pop(f"{name}.weight"), state.pop(f"{name}.bias")
    if not (bool((weight == 1).all()) and bool((bias == 0).all())):
        raise UsageError(f"{graph.path}: {name} has scales, which CAM++ does not know")


__all__ = ["load_campplus"]
