"""A dubbing model of 0.2 M parameters with every part, and prompts for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from cineforge_hf.modeling.cinedub import CineDubConfig


def tiny_config(**changes: Any) -> CineDubConfig:
    """A model of 0.2 M parameters that has every part."""
    sizes: dict[str, Any] = {
        "codebook_size": 64,
        "num_codec_specials": 8,
        "bos_token_id": 64,
        "eos_token_id": 65,
        "turn_token_id": 66,
        "fill_token_id": 67,
        "pad_token_id": 65,
        "face_size": 16,
        "text_config": {
            "vocab_size": 300,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 2048,
        },
        "flow_config": {
            "codebook_size": 64,
            "lookahead_size": 16,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "head_dim": 8,
            "speaker_embed_size": 24,
            "num_steps": 4,
            "noise_frames": 400,
        },
        "vocoder_config": {"hidden_size": 16, "f0_hidden_size": 8},
        "speaker_config": {
            "embed_size": 24,
            "head_channels": 4,
            "hidden_size": 16,
            "growth": 4,
            "block_layers": [2, 2, 2],
        },
    }
    return CineDubConfig(**(sizes | changes))


def random_prompts(count: int, seed: int = 0, frames: tuple[int, int] = (5, 60)) -> dict[str, torch.Tensor]:
    """Left-padded prompts of different lengths for the tiny model."""
    rng = np.random.default_rng(seed)
    lengths = [int(rng.integers(*frames)) for _ in range(count)]
    rows = []
    for length in lengths:
        text = rng.integers(0, 300, int(rng.integers(3, 30)))
        ids = [64, *[0] * length, *text, 1501, 1, 1511, -100, 1509, 20, 66]
        types = [2, *[3] * length, *[0] * len(text), *[1] * 6, 2]
        rows.append((ids, types))
    longest = max(len(ids) for ids, _ in rows)
    batch = {
        "input_ids": torch.tensor([[0] * (longest - len(ids)) + [int(i) for i in ids] for ids, _ in rows]),
        "token_type_ids": torch.tensor([[0] * (longest - len(ids)) + types for ids, types in rows]),
        "attention_mask": torch.tensor([[0] * (longest - len(ids)) + [1] * len(ids) for ids, _ in rows]),
        "face_values": torch.zeros(count, max(lengths), 16),
        "speech_lengths": torch.tensor(lengths),
        "speaker_embeds": torch.from_numpy(rng.standard_normal((count, 2, 24), dtype=np.float32)),
    }
    for i, length in enumerate(lengths):
        batch["face_values"][i, :length] = torch.from_numpy(rng.standard_normal((length, 16), dtype=np.float32))
    return batch


def single(batch: dict[str, torch.Tensor], row: int) -> dict[str, torch.Tensor]:
    """One row of a left-padded batch, without its padding."""
    start = int((batch["attention_mask"][row] == 0).sum())
    cut = {name: batch[name][row : row + 1] for name in batch}
    for name in ("input_ids", "token_type_ids", "attention_mask"):
        cut[name] = cut[name][:, start:]
    cut["face_values"] = cut["face_values"][:, : int(batch["speech_lengths"][row])]
    return cut
