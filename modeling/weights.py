"""Reading published weight files for conversion: never by unpickling objects, and never with a key left over.

`load_torch_file` opens `.pt` files with `weights_only=True` and finds the state dict inside the nestings that trainers write;
`OnnxGraph` reads the weights of an ONNX graph; `load_weights` puts a state dict into a model and refuses any difference.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cineforge_hf.errors import UsageError

_NESTINGS = ("state_dict", "model_state_dict", "model", "module")


def load_torch_file(path: Path) -> dict[str, torch.Tensor]:
    """Reads the state dict of a `.pt` or `.bin` file.

    Args:
        path: the file.

    Returns:
        The tensors by name, without a leading `module.`.

    Raises:
        UsageError: the file is missing, damaged, holds objects other than tensors, or holds no state dict.
    """
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen types on damaged files
        if "Weights only load failed" in str(error):
            reason = "it holds Python objects, not only tensors, and loading those would run code from the file"
            raise UsageError(f"{path}: refused: {reason}; or it is damaged") from error
        raise UsageError(f"{path}: damaged or truncated ({_first_line(error)}); download it again") from error
    state = _unwrap(content)
    if state is None:
        raise UsageError(f"{path}: no state dict inside (looked at the top and under {', '.join(_NESTINGS)})")
    if all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): value for key, value in state.items()}
    return state


def _unwrap(content: Any) -> dict[str, torch.Tensor] | None:
    if not isinstance(content, Mapping):
        return None
    if content and all(isinstance(v, torch.Tensor) for v in content.values()):
        return dict(content)
    for key in _NESTINGS:
        if (inner := _unwrap(content.get(key))) is not None:
            return inner
    return None


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def load_weights(model: nn.Module, state: Mapping[str, torch.Tensor], source: Path) -> None:
    """Puts a state dict into a model.

    Args:
        model: the model.
        state: its tensors; exactly the model's keys and shapes.
        source: named in errors.

    Raises:
        UsageError: a key is missing or left over, a shape differs, or a value is not finite.
    """
    expected = model.state_dict()
    missing, extra = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    if missing or extra:
        parts = [f"{what} {_some(keys)}" for what, keys in (("without", missing), ("with unknown", extra)) if keys]
        raise UsageError(f"{source}: {' and '.join(parts)}; this is another model or a damaged file")
    for key, value in state.items():
        if value.shape != expected[key].shape:
            raise UsageError(f"{source}: {key} has shape {tuple(value.shape)}, expected {tuple(expected[key].shape)}")
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise UsageError(f"{source}: {key} holds values that are not finite; the file is damaged")
    # A model on the meta device, made only to be filled, takes the tensors themselves.
    model.load_state_dict(dict(state), assign=any(value.is_meta for value in expected.values()))


def _some(keys: list[str]) -> str:
    return ", ".join(keys[:3]) + (f" and {len(keys) - 3} more keys" if len(keys) > 3 else "")


class OnnxGraph:
    """The nodes and weights of an ONNX file.

    Args:
        path: named in errors.
        model: the parsed file.
    """

    def __init__(self, path: Path, model: Any) -> None:
        self.path = path
        self._graph = model.graph
        self._tensors = {t.name: t for t in self._graph.initializer}
        self._aliases: dict[str, str] = {}
        for node in self._graph.node:
            if node.op_type == "Constant":
                self._tensors.update((node.output[0], a.t) for a in node.attribute if a.name == "value")
            elif node.op_type == "Identity":
                self._aliases[node.output[0]] = node.input[0]

    @classmethod
    def open(cls, path: Path) -> OnnxGraph:
        """Parses a file.

        Raises:
            UsageError: the file is missing or damaged, or the `onnx` package is not there.
        """
        try:
            import onnx
            from google.protobuf.message import DecodeError
        except ImportError as error:
            raise UsageError("converting ONNX files needs the package onnx: pip install 'cineforge_hf[model]'") from error
        if not path.is_file():
            raise UsageError(f"{path}: no such file")
        try:
            model = onnx.load(str(path))
        except (DecodeError, ValueError) as error:
            raise UsageError(f"{path}: damaged or truncated ({_first_line(error)}); download it again") from error
        if not model.graph.node:
            raise UsageError(f"{path}: damaged or truncated (an empty graph); download it again")
        return cls(path, model)

    def nodes(self, *op_types: str) -> Iterator[Any]:
        """The nodes of the given types, in the order of execution."""
        return (node for node in self._graph.node if node.op_type in op_types)

    def has_tensor(self, name: str) -> bool:
        """Whether a name is a stored weight or constant."""
        return self._aliases.get(name, name) in self._tensors

    def tensor(self, name: str) -> torch.Tensor:
        """A stored weight or constant.

        Raises:
            UsageError: the name is computed by the graph, or its values lie in another file that is missing.
        """
        from onnx import numpy_helper

        name = self._aliases.get(name, name)
        if name not in self._tensors:
            raise UsageError(f"{self.path}: {name} is not stored as a weight")
        try:
            return torch.from_numpy(numpy_helper.to_array(self._tensors[name], base_dir=str(self.path.parent)).copy())
        except (ValueError, OSError) as error:
            raise UsageError(f"{self.path}: {name} cannot be read ({_first_line(error)}); download it again") from error
