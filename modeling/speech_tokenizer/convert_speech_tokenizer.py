"""Weights of the S3 speech tokenizer v3 from the published ONNX file, or from a state dict in the layout of `s3tokenizer`.

The graph's nodes are named by the module that they come from (`/blocks.0/attn/query/MatMul`); the weights themselves are not.
So the tensors are found through the nodes: a stored operand of a MatMul is a transposed weight, one of an Add a bias.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from cineforge_hf.errors import UsageError
from cineforge_hf.modeling.speech_tokenizer.configuration_speech_tokenizer import SpeechTokenizerConfig
from cineforge_hf.modeling.speech_tokenizer.feature_extraction_speech_tokenizer import SpeechTokenizerFeatureExtractor
from cineforge_hf.modeling.speech_tokenizer.modeling_speech_tokenizer import SpeechTokenizerModel
from cineforge_hf.modeling.weights import OnnxGraph, load_torch_file, load_weights

_MODULES = (
    (r"(?:encoder\.)?conv([12])", r"conv\1"),
    (r"(?:encoder\.)?blocks\.(\d+)\.attn_ln", r"layers.\1.attention_norm"),
    (r"(?:encoder\.)?blocks\.(\d+)\.mlp_ln", r"layers.\1.mlp_norm"),
    (r"(?:encoder\.)?blocks\.(\d+)\.attn\.query", r"layers.\1.attention.q_proj"),
    (r"(?:encoder\.)?blocks\.(\d+)\.attn\.key", r"layers.\1.attention.k_proj"),
    (r"(?:encoder\.)?blocks\.(\d+)\.attn\.value", r"layers.\1.attention.v_proj"),
    (r"(?:encoder\.)?blocks\.(\d+)\.attn\.out", r"layers.\1.attention.o_proj"),
    (r"(?:encoder\.)?blocks\.(\d+)\.attn\.fsmn_block", r"layers.\1.attention.memory"),
    (r"(?:encoder\.)?blocks\.(\d+)\.mlp\.(?:mlp\.)?0", r"layers.\1.up_proj"),
    (r"(?:encoder\.)?blocks\.(\d+)\.mlp\.(?:mlp\.)?2", r"layers.\1.down_proj"),
    (r"quantizer\..*project_(?:in|down)", "code_proj"),
)
_WEIGHTED = ("Conv", "MatMul", "Gemm", "Add", "Mul", "LayerNormalization")


def load_speech_tokenizer(path: str | Path) -> SpeechTokenizerModel:
    """Reads a published speech tokenizer.

    Args:
        path: `speech_tokenizer_v3.onnx`, or a `.pt` file in the layout of the `s3tokenizer` package.

    Returns:
        The model in evaluation mode, its sizes taken from the shapes.

    Raises:
        UsageError: the file is damaged or is no S3 tokenizer v3.
    """
    path = Path(path)
    state = _from_onnx(OnnxGraph.open(path)) if path.suffix == ".onnx" else _from_torch(load_torch_file(path), path)
    try:
        config = _config(state)
    except KeyError as error:
        raise UsageError(f"{path}: without {error}; is this the S3 speech tokenizer v3?") from error
    model = SpeechTokenizerModel(config).eval()
    load_weights(model, state, path)
    return model


def convert_speech_tokenizer(source: str | Path, output: str | Path) -> Path:
    """Converts a published speech tokenizer to a transformers folder.

    Args:
        source: see `load_speech_tokenizer`.
        output: the folder to write.

    Returns:
        The folder.
    """
    model = load_speech_tokenizer(source)
    model.save_pretrained(output)
    SpeechTokenizerFeatureExtractor(model.config.num_mel_bins).save_pretrained(output)
    return Path(output)


def _config(state: dict[str, torch.Tensor]) -> SpeechTokenizerConfig:
    hidden, bins = state["conv1.weight"].shape[:2]
    return SpeechTokenizerConfig(
        num_mel_bins=bins,
        hidden_size=hidden,
        num_hidden_layers=sum(bool(re.fullmatch(r"layers\.\d+\.mlp_norm\.weight", key)) for key in state),
        num_attention_heads=hidden // 64,
        memory_kernel_size=state["layers.0.attention.memory.weight"].shape[2],
        code_dims=state["code_proj.weight"].shape[0],
    )


def _module(name: str) -> str | None:
    return next((match.expand(new) for old, new in _MODULES if (match := re.fullmatch(old, name))), None)


def _from_torch(state: dict[str, torch.Tensor], path: Path) -> dict[str, torch.Tensor]:
    renamed = {}
    for key, value in state.items():
        name, kind = key.rsplit(".", 1)
        module = _module(name)
        if module is None:
            raise UsageError(f"{path}: unknown key {key!r}; is this the S3 speech tokenizer v3?")
        renamed[f"{module}.{kind}"] = value
    return renamed


def _from_onnx(graph: OnnxGraph) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = {}
    for node in graph.nodes(*_WEIGHTED):
        scope = node.name.strip("/").replace("/", ".").rsplit(".", 1)[0]
        # torch names a Sequential's child by both: /mlp/mlp.0; a quantizer's projection may lie at any depth.
        module = _module(scope.replace("mlp.mlp.", "mlp."))
        if module is None:
            continue
        stored = [graph.tensor(name) for name in node.input if graph.has_tensor(name)]
        stored = [tensor for tensor in stored if tensor.numel() > 1]
        for kind, tensor in _weights(node, stored):
            key = f"{module}.{kind}"
            if key in state:
                raise UsageError(f"{graph.path}: {key} is there twice; is this the S3 speech tokenizer v3?")
            state[key] = tensor
    return state


def _weights(node: Any, stored: list[torch.Tensor]) -> list[tuple[str, torch.Tensor]]:
    """Names the stored operands of a node."""
    if node.op_type == "MatMul":
        return [("weight", tensor.T.contiguous()) for tensor in stored]
    if node.op_type == "Gemm":
        transposed = any(a.name == "transB" and a.i for a in node.attribute)
        return [("weight", stored[0] if transposed else stored[0].T.contiguous()), *(("bias", t) for t in stored[1:])]
    if node.op_type == "Add":
        return [("bias", tensor) for tensor in stored]
    if node.op_type == "Mul":
        return [("weight", tensor) for tensor in stored]
    return list(zip(("weight", "bias"), stored, strict=False))


__all__ = ["convert_speech_tokenizer", "load_speech_tokenizer"]
