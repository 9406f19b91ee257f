"""Speech tokens of clips, with a tiny random tokenizer."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset

from cineforge_hf import schema
from cineforge_hf.errors import UsageError
from cineforge_hf.modeling.speech_tokenizer import SpeechTokenizerConfig, SpeechTokenizerFeatureExtractor, SpeechTokenizerModel
from cineforge_hf.processors.speech_tokens import TokenizeSpeech


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("tokenizer")
    torch.manual_seed(0)
    config = SpeechTokenizerConfig(hidden_size=64, num_hidden_layers=1, num_attention_heads=1, speech_tokenizer_id="tiny")
    model = SpeechTokenizerModel(config)
    model.code_proj.weight.data.mul_(40)
    model.save_pretrained(folder)
    SpeechTokenizerFeatureExtractor().save_pretrained(folder)
    return str(folder)


def row(path: Path, start: float, end: float) -> dict[str, Any]:
    place = {"source": str(path), "start": start, "end": end, "audio_stream": None}
    return {"clip_id": f"c{start}", "duration": end - start, **place, **{name: [] for name in schema.APPEND_ONLY}}


def test_tokens_by_map(tokenizer: str, make_film: Any) -> None:
    film = make_film(seconds=4.0)
    rows = [row(film, 0.0, 1.0), row(film, 1.0, 3.0), {**row(film, 0.0, 2.0), "duration": None}]
    columns = ["clip_id", "duration", "source", "start", "end", "audio_stream", *schema.APPEND_ONLY]
    clips = Dataset.from_list(rows, features=schema.features(columns))
    stage = TokenizeSpeech(model=tokenizer)
    stage.check()
    out = clips.map(stage, batched=True, **stage.map_kwargs(clips))
    assert [len(tokens or ()) for tokens in out["speech_tokens"]] == [25, 50, 0]
    assert out["speech_tokenizer_id"] == ["tiny", "tiny", None]
    assert out[2]["speech_tokens"] is None
    assert out[0]["provenance"][0]["engine"] == "s3-speech-tokenizer"
    assert len(set(out[1]["speech_tokens"])) > 1
    alone = stage.run([rows[0]])[0][0]
    assert alone["speech_tokens"] == out[0]["speech_tokens"]


def test_a_bad_clip_does_not_stop_the_others(tokenizer: str, make_film: Any, tmp_path: Path) -> None:
    film = make_film(seconds=2.0)
    rows = [row(tmp_path / "gone.mp4", 0.0, 1.0), row(film, 0.0, 61.0), row(film, 0.0, 1.0)]
    results = [result[0] for result in TokenizeSpeech(model=tokenizer).run(rows)]
    assert [r["errors"][0]["code"] for r in results[:2]] == ["missing_source", "too_long"]
    assert len(results[2]["speech_tokens"]) == 25


def test_key_and_pickle(tokenizer: str) -> None:
    stage = TokenizeSpeech(model=tokenizer)
    assert stage.engines[0].revision == TokenizeSpeech(model=tokenizer).engines[0].revision
    stage._loaded  # noqa: B018 - a loaded model must not travel
    assert len(pickle.dumps(stage)) < 1000


@pytest.mark.parametrize(("model", "message"), [("", "none was given"), ("nowhere", "there is none at 'nowhere'")])
def test_without_a_model(model: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        TokenizeSpeech(model=model).check()
