"""How the keys of published checkpoints become ours, and what their shapes say about the sizes.

A renaming is a list of (pattern, replacement); the first that matches a whole key applies. A key that none matches is an
error: nothing is dropped that is not listed as such.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch

from cineforge_hf.errors import UsageError
from cineforge_hf.modeling.audio_features import flow_mel_filters

State = dict[str, torch.Tensor]

# The replacement None drops the key: buffers that are computed, and a text head that the model does not use.
_DIT = r"(?:dit_model|decoder\.estimator)\."
LANGUAGE_MODEL: list[tuple[str, str | None]] = [
    (r"llm\.(?:model\.)?lm_head\..*", None),
    (r"llm\.model\.(?:model\.)?(.*)", r"language_model.\1"),
    (r"(?:codec_embed|speech_embedding)\.weight", "codec_embed.weight"),
    (r"(?:codec_head|llm_decoder)\.weight", "codec_head.weight"),
    (r"timespk_embed\.weight", "timespk_embed.weight"),
    (r"face_linear\.(weight|bias)", r"face_proj.\1"),
]
FLOW: list[tuple[str, str | None]] = [
    (r"mel_extractor\..*", None),
    (_DIT + r"rotary_embed\.inv_freq", None),
    (r"(?:codec_embedder|input_embedding)\.weight", "code_embed.weight"),
    (r"(?:lookahead_conv1d|pre_lookahead_layer)\.conv1\.(.*)", r"lookahead.expand.\1"),
    (r"(?:lookahead_conv1d|pre_lookahead_layer)\.conv2\.(.*)", r"lookahead.reduce.\1"),
    (r"(?:xvec_proj|spk_embed_affine_layer)\.(.*)", r"speaker_proj.\1"),
    (_DIT + r"time_embed\.time_mlp\.0\.(.*)", r"dit.time_embed.up_proj.\1"),
    (_DIT + r"time_embed\.time_mlp\.2\.(.*)", r"dit.time_embed.down_proj.\1"),
    (_DIT + r"input_embed\.proj\.(.*)", r"dit.input_proj.\1"),
    (_DIT + r"input_embed\.conv_pos_embed\.conv1\.0\.(.*)", r"dit.position.convs.0.\1"),
    (_DIT + r"input_embed\.conv_pos_embed\.conv2\.0\.(.*)", r"dit.position.convs.1.\1"),
    (_DIT + r"transformer_blocks\.(\d+)\.attn_norm\.linear\.(.*)", r"dit.blocks.\1.modulation.\2"),
    (_DIT + r"transformer_blocks\.(\d+)\.attn\.to_([qkv])\.(.*)", r"dit.blocks.\1.attention.\2_proj.\3"),
    (_DIT + r"transformer_blocks\.(\d+)\.attn\.to_out\.0\.(.*)", r"dit.blocks.\1.attention.o_proj.\2"),
    (_DIT + r"transformer_blocks\.(\d+)\.ff\.ff\.0\.0\.(.*)", r"dit.blocks.\1.mlp.up_proj.\2"),
    (_DIT + r"transformer_blocks\.(\d+)\.ff\.ff\.2\.(.*)", r"dit.blocks.\1.mlp.down_proj.\2"),
    (_DIT + r"norm_out\.linear\.(.*)", r"dit.final_modulation.\1"),
    (_DIT + r"proj_out\.(.*)", r"dit.output_proj.\1"),
]
_GEN = r"(?:generator\.)?"
VOCODER: list[tuple[str, str | None]] = [
    (_GEN + r"m_source\.l_linear\.(.*)", r"source_mix.\1"),
    (_GEN + r"(conv_pre|conv_post)\.(.*)", r"\1.\2"),
    (_GEN + r"ups\.(\d+)\.(.*)", r"upsamples.\1.\2"),
    (_GEN + r"source_downs\.(\d+)\.(.*)", r"source_convs.\1.\2"),
    (_GEN + r"((?:source_)?resblocks\.\d+\.(?:convs|activations)[12]\.\d+\..*)", r"\1"),
    (_GEN + r"f0_predictor\.condnet\.0\.(.*)", r"f0_predictor.first.\1"),
    (_GEN + r"f0_predictor\.condnet\.2\.(.*)", r"f0_predictor.convs.0.\1"),
    (_GEN + r"f0_predictor\.condnet\.4\.(.*)", r"f0_predictor.convs.1.\1"),
    (_GEN + r"f0_predictor\.condnet\.6\.(.*)", r"f0_predictor.convs.2.\1"),
    (_GEN + r"f0_predictor\.condnet\.8\.(.*)", r"f0_predictor.convs.3.\1"),
    (_GEN + r"f0_predictor\.classifier\.(.*)", r"f0_predictor.head.\1"),
]


def rename(state: Mapping[str, torch.Tensor], rules: list[tuple[str, str | None]], source: Any) -> tuple[State, list[str]]:
    """Renames a state dict.

    Args:
        state: tensors by published key.
        rules: `LANGUAGE_MODEL`, `FLOW` or `VOCODER`.
        source: named in errors.

    Returns:
        The tensors by our key, and the published keys that were dropped.

    Raises:
        UsageError: a key is unknown, or two become the same.
    """
    renamed: State = {}
    dropped: list[str] = []
    for key, value in state.items():
        match = next(((m, new) for old, new in rules if (m := re.fullmatch(old, key))), None)
        if match is None:
            raise UsageError(f"{source}: unknown key {key!r}; this is another model")
        if match[1] is None:
            dropped.append(key)
            continue
        new_key = match[0].expand(match[1])
        if new_key in renamed:
            raise UsageError(f"{source}: {key!r} stands for {new_key!r}, which another key already gave")
        renamed[new_key] = value
    return renamed, dropped


def fold_weight_norm(state: Mapping[str, torch.Tensor]) -> State:
    """Multiplies out weight normalisation (Salimans and Kingma 2016), in both of torch's spellings."""
    folded: State = {}
    for key, value in state.items():
        base = re.sub(r"(weight_g|parametrizations\.weight\.original0)$", "weight", key)
        if base != key:
            direction = state.get(key.replace("weight_g", "weight_v").replace("original0", "original1"))
            if direction is None:
                raise UsageError(f"{key!r} has no direction beside it; the weight normalisation is incomplete")
            norm = direction.flatten(1).norm(dim=1).view(-1, *[1] * (direction.ndim - 1))
            folded[base] = value * direction / norm
        elif not re.search(r"(weight_v|parametrizations\.weight\.original1)$", key):
            folded[key] = value
    return folded


def flow_sizes(state: State, buffers: Mapping[str, torch.Tensor], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Sizes of the flow, from its shapes where they say so and else from its settings.

    Args:
        state: renamed tensors.
        buffers: the published tensors, for those that are computed here.
        settings: the published `config.yaml`; empty for CosyVoice3.

    Returns:
        Arguments of `CineDubFlowConfig`.
    """
    dit = settings.get("dit_conf", {})
    hidden, inputs = state["dit.input_proj.weight"].shape
    inv_freq = next((value for key, value in buffers.items() if key.endswith("rotary_embed.inv_freq")), None)
    head_dim = 2 * len(inv_freq) if inv_freq is not None else int(dit.get("dim_head", 64))
    sizes: dict[str, Any] = {
        "codebook_size": state["code_embed.weight"].shape[0],
        "lookahead_size": state["lookahead.expand.weight"].shape[0],
        "lookahead_frames": state["lookahead.expand.weight"].shape[2] - 1,
        "num_mel_bins": inputs // 4,
        "speaker_embed_size": state["speaker_proj.weight"].shape[1],
        "hidden_size": hidden,
        "num_hidden_layers": sum(bool(re.fullmatch(r"dit\.blocks\.\d+\.modulation\.weight", key)) for key in state),
        "num_attention_heads": hidden // head_dim,
        "head_dim": head_dim,
        "mlp_ratio": state["dit.blocks.0.mlp.up_proj.weight"].shape[0] // hidden,
        "time_embed_size": state["dit.time_embed.up_proj.weight"].shape[1],
        "position_kernel_size": state["dit.position.convs.0.weight"].shape[2],
        "position_groups": hidden // state["dit.position.convs.0.weight"].shape[1],
        "mel_fmax": _fmax(buffers, settings),
    }
    if "feat_token_ratio" in settings:
        sizes["mel_per_token"] = int(settings["feat_token_ratio"])
    if "causal_mask_type" in dit:
        sizes["causal_blocks"] = [
            -1 if mask["block_size"] < 0 else int(mask["block_size"] * mask.get("ratio", 1)) for mask in dit["causal_mask_type"]
        ]
    if ratio := settings.get("prompt_conf", {}).get("prompt_width_ratio_range"):
        sizes["prompt_ratio"] = [float(r) for r in ratio]
    return sizes


def _fmax(buffers: Mapping[str, torch.Tensor], settings: Mapping[str, Any]) -> float:
    """The filters' upper frequency: the stored filters decide; without them the settings, where null means Nyquist."""
    basis = next((value for key, value in buffers.items() if key.endswith("mel_extractor.mel_basis")), None)
    if basis is None:
        stated = settings.get("mel_feat_conf", {}).get("mel_fmax")
        return 12000.0 if stated is None else float(stated)
    for fmax in (8000.0, 12000.0, 11025.0):
        if (torch.from_numpy(flow_mel_filters(len(basis), fmax)).T.float() - basis).abs().max() < 1e-5:
            return fmax
    raise UsageError("the flow's mel filters are none of those known (fmax 8000, 12000 or 11025 Hz)")


def vocoder_sizes(state: State, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Sizes of the vocoder, from its shapes where they say so and else from its settings.

    Args:
        state: renamed tensors.
        settings: the published `config.yaml`; empty for CosyVoice3.

    Returns:
        Arguments of `CineDubVocoderConfig`.
    """
    given = settings.get("CausalHiFTGenerator_conf", {})
    stages = sum(bool(re.fullmatch(r"upsamples\.\d+\.weight", key)) for key in state)
    per_stage = sum(bool(re.fullmatch(r"resblocks\.\d+\.convs1\.0\.weight", key)) for key in state) // max(stages, 1)
    sizes: dict[str, Any] = {
        "num_mel_bins": state["conv_pre.weight"].shape[1],
        "hidden_size": state["conv_pre.weight"].shape[0],
        "num_harmonics": state["source_mix.weight"].shape[1] - 1,
        "upsample_kernel_sizes": [state[f"upsamples.{i}.weight"].shape[2] for i in range(stages)],
        "n_fft": state["conv_post.weight"].shape[0] - 2,
        "resblock_kernel_sizes": [state[f"resblocks.{i}.convs1.0.weight"].shape[2] for i in range(per_stage)],
        "source_kernel_sizes": [state[f"source_resblocks.{i}.convs1.0.weight"].shape[2] for i in range(stages)],
        "f0_hidden_size": state["f0_predictor.head.weight"].shape[1],
    }
    renamed = {
        "sampling_rate": "sampling_rate",
        "nsf_alpha": "source_amplitude",
        "nsf_sigma": "source_noise",
        "nsf_voiced_threshold": "voiced_threshold",
        "upsample_rates": "upsample_rates",
        "lrelu_slope": "lrelu_slope",
        "audio_limit": "audio_limit",
    }
    sizes |= {ours: given[theirs] for theirs, ours in renamed.items() if theirs in given}
    sizes["voiced_threshold"] = float(sizes.get("voiced_threshold", 10.0))
    if "istft_params" in given:
        sizes["hop_length"] = int(given["istft_params"]["hop_len"])
    if dilations := given.get("resblock_dilation_sizes"):
        sizes["resblock_dilations"] = list(dilations[0])
    return sizes
