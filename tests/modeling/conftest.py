"""Goldens of the published implementation, and a tiny random model where no golden is needed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from cineforge_hf.modeling.cinedub import CineDubForConditionalGeneration, CineDubProcessor
from cineforge_hf.modeling.cinedub.convert_cinedub import convert_release
from tiny_cinedub import tiny_config

PARITY = Path(os.environ.get("CINEFORGE_PARITY", Path(__file__).resolve().parents[3] / "shared" / "parity"))
RECORDS = ("en_monologue_1", "en_dialogue_1", "zh_monologue_1")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def parity() -> Path:
    if not (PARITY / "funcineforge_golden.json").is_file():
        pytest.skip(f"no goldens at {PARITY}; set CINEFORGE_PARITY to their folder")
    return PARITY


@dataclass
class Goldens:
    """The stored numbers and the converted model."""

    tensors: dict[str, torch.Tensor]
    facts: dict[str, Any]
    model: CineDubForConditionalGeneration
    processor: CineDubProcessor
    folder: Path

    def __getitem__(self, name: str) -> torch.Tensor:
        return self.tensors[name]

    def fields(self, record: str) -> dict[str, Any]:
        """A record as our processor takes it."""
        given = self.facts["records"][record]["inputs"]
        return {
            "text": given["text"],
            "clue": given["clue"],
            "scene": given["type"],
            "turns": [{**turn, "speaker": turn["spk"]} for turn in given["dialogue"]],
            "duration": given["speech_length"] / 25,
            "face_times": self[f"{record}.in.face_indices"].double().numpy() / 25,
            "face_embeddings": self[f"{record}.in.face_embeddings"].numpy(),
            "voices": self[f"{record}.in.wav16k"].numpy(),
        }

    def inputs(self, record: str) -> Any:
        return self.processor(sampling_rate=16000, **self.fields(record))


@pytest.fixture(scope="session")
def goldens(parity: Path, tmp_path_factory: pytest.TempPathFactory) -> Goldens:
    folder = tmp_path_factory.mktemp("converted") / "cinedub"
    convert_release(parity / "funcineforge_tiny", folder)
    return Goldens(
        load_file(parity / "funcineforge_golden.safetensors"),
        json.loads((parity / "funcineforge_golden.json").read_text(encoding="utf-8")),
        CineDubForConditionalGeneration.from_pretrained(folder).eval(),
        CineDubProcessor.from_pretrained(folder),
        folder,
    )


@pytest.fixture
def tiny() -> CineDubForConditionalGeneration:
    torch.manual_seed(0)
    model = CineDubForConditionalGeneration(tiny_config()).eval()
    with torch.no_grad():
        model.codec_head.weight.mul_(40)  # otherwise all ids are nearly equally likely, and no sampling rule shows
        for parameter in (*model.flow.parameters(), *model.vocoder.parameters()):
            parameter.mul_(5.0 if parameter.ndim > 1 else 1.0)  # otherwise signals die out from layer to layer
        model.vocoder.f0_predictor.head.bias.fill_(150.0)
    return model
