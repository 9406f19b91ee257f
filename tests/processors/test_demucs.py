"""The demucs engine on a tiny model with random weights, saved as the Hub's are and loaded by the real code."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from cineforge_hf.errors import UsageError
from cineforge_hf.media import probe
from cineforge_hf.processors.engines.separate import demucs as engine_module
from cineforge_hf.processors.engines.separate.demucs import DemucsEngine
from cineforge_hf.processors.separate import SeparateVocals

pytestmark = pytest.mark.skipif(importlib.util.find_spec("demucs") is None, reason="needs the separation extra")

SOURCES = ["drums", "bass", "other", "vocals"]


def save(folder: Path, *, sources: list[str] = SOURCES, klass: str = "demucs.htdemucs.HTDemucs", channels: int = 2) -> Path:
    """A folder like adefossez/HTDemucs: a bag's YAML and its model with class and arguments in the metadata."""
    import torch
    from demucs.htdemucs import HTDemucs
    from safetensors.torch import save_file

    torch.manual_seed(0)
    arguments: dict[str, Any] = {
        "sources": sources,
        "audio_channels": channels,
        "channels": 8,
        "t_layers": 1,
        "t_heads": 2,
        "dconv_mode": 0,
        "rewrite": False,
    }
    model = HTDemucs(**arguments, segment=Fraction(1, 2))
    written = {**arguments, "segment": {"_type": "fraction", "numerator": 1, "denominator": 2}}
    folder.mkdir(parents=True)
    metadata = {"klass": klass, "args": "[]", "kwargs": json.dumps(written)}
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder / "0123abcd.safetensors", metadata)
    (folder / "tiny.yaml").write_text("models: ['0123abcd']\n")
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("demucs") / "tiny")


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def film(path: Path, seconds: float, rate: int, channels: int) -> dict[str, Any]:
    sound = np.random.default_rng(0).normal(0, 0.1, (round(seconds * rate), channels))
    soundfile.write(path, sound, rate)
    facts = probe(path)
    return {"source": str(path), "film_duration": facts.duration, "audio_stream": facts.audio[0].index}


@pytest.mark.parametrize(("rate", "channels"), [(48000, 2), (16000, 1)])
def test_the_whole_path(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, rate: int, channels: int) -> None:
    monkeypatch.setattr(engine_module, "WINDOW_SECONDS", 0.8)
    monkeypatch.setattr(engine_module, "OVERLAP_SECONDS", 0.2)
    sizes: list[tuple[int, ...]] = []
    inner = DemucsEngine._vocals

    def watched(self: DemucsEngine, mix: Any) -> Any:
        sizes.append(mix.shape)
        return inner(self, mix)

    monkeypatch.setattr(DemucsEngine, "_vocals", watched)
    stage = SeparateVocals(engine="demucs", model=str(weights), device="cpu")
    stage.check()
    row = film(tmp_path / "film.wav", 2.3, rate, channels)
    (done,) = stage.run([row])[0]
    assert not done.get("errors"), done["errors"]
    vocals, _ = soundfile.read(done["vocals"]["path"], dtype="int16", always_2d=True)
    rest, _ = soundfile.read(done["instrumental"]["path"], dtype="int16", always_2d=True)
    mix, _ = soundfile.read(row["source"], dtype="int16", always_2d=True)
    np.testing.assert_array_equal(vocals.astype(int) + rest, mix)
    assert vocals.any()
    assert vocals.shape == (round(2.3 * rate), channels)
    assert len(sizes) > 1
    assert all(count < (2 * 0.8 - 0.2) * 44100 and lanes == channels for lanes, count in sizes)


def test_same_sound_same_vocals(weights: Path) -> None:
    mix = np.random.default_rng(1).normal(0, 0.1, (2, 44100)).astype(np.float32)
    engines = [DemucsEngine(str(weights), device="cpu") for _ in range(2)]
    first, second = (np.concatenate(list(engine.separate(iter([mix]), 44100)), axis=1) for engine in engines)
    np.testing.assert_array_equal(first, second)
    assert first.shape == mix.shape


def test_silence_and_one_sample(weights: Path) -> None:
    engine = DemucsEngine(str(weights), device="cpu")
    for count in (1, 4410):
        found = np.concatenate(list(engine.separate(iter([np.zeros((1, count), np.float32)]), 44100)), axis=1)
        assert found.shape == (1, count)
        assert np.isfinite(found).all()


def test_provenance_names_the_weights(weights: Path) -> None:
    info = DemucsEngine(str(weights)).info
    assert info.revision.startswith("4.") and len(info.revision.split()[1]) == 12
    assert info.licence == "unknown"
    published = DemucsEngine().info
    assert "adefossez/HTDemucs@main" in published.revision
    assert published.licence == "MIT"
    stage = SeparateVocals(engine="demucs", model=str(weights))
    assert dataclasses.asdict(stage)["model"] == str(weights)


def test_an_unreachable_hub_is_said_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub.errors import LocalEntryNotFoundError

    def unreachable(*_: Any, **__: Any) -> str:
        raise LocalEntryNotFoundError("no connection")

    monkeypatch.setattr("huggingface_hub.snapshot_download", unreachable)
    with pytest.raises(UsageError, match=r"hf download adefossez/HTDemucs.*engine repet or none"):
        SeparateVocals(engine="demucs").check()
    monkeypatch.undo()
    with pytest.raises(UsageError, match="neither a folder nor a Hub repository"):
        SeparateVocals(engine="demucs", model="no/such/folder").check()


def test_a_missing_package_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "demucs" else object())
    with pytest.raises(UsageError, match=r"needs demucs: pip install 'cineforge_hf\[separation\]'"):
        SeparateVocals(engine="demucs").check()


def test_weights_that_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def message(folder: Path) -> str:
        with pytest.raises(UsageError) as raised:
            DemucsEngine(str(folder)).check()
        return str(raised.value)

    assert "os.system" in message(save(tmp_path / "foreign", klass="os.system"))
    assert "a stem named vocals" in message(save(tmp_path / "stems", sources=["drums", "rest"]))
    assert "a stem named vocals" in message(save(tmp_path / "mono", channels=1))
    broken = save(tmp_path / "broken")
    (broken / "0123abcd.safetensors").write_bytes(b"\x00" * 99)
    assert "do not load" in message(broken)
    (broken / "0123abcd.safetensors").unlink()
    assert "do not load" in message(broken)
    (broken / "tiny.yaml").unlink()
    assert "no single .yaml" in message(broken)

    def leave(*_: Any) -> None:
        raise SystemExit(1)

    monkeypatch.setattr("demucs.hf.load_safetensors_model", leave)
    assert "cannot load the weights" in message(save(tmp_path / "exits"))
