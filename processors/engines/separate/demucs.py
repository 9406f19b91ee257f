"""Vocals with Demucs (`htdemucs`), the strongest engine: a hybrid transformer over 7.8 s of 44.1 kHz stereo.

The weights come from a Hub repository or a folder with the same files: `NAME.yaml`, which lists the models of a bag, and
a `SIGNATURE.safetensors` for each, with its class and arguments in the metadata. They are fetched here and not by
`demucs.pretrained.get_model`, which falls back to unpickling a download from elsewhere without a word when the Hub cannot
be reached, and cannot be told a revision.

Invariants: no random shifts (`shifts=0`), so that the same film gives the same vocals; one thread; memory does not grow
with the film; demucs' `sys.exit` never leaves this module.

Source: S. Rouard, F. Massa and A. Defossez, "Hybrid Transformers for Music Source Separation", ICASSP 2023.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from cineforge_hf.errors import SystemicError, UsageError
from cineforge_hf.media.mixing import Sound
from cineforge_hf.processor import EngineInfo
from cineforge_hf.processors.engines.separate.windows import in_windows

REPOSITORY = "adefossez/HTDemucs"
"""Where Demucs' author publishes htdemucs: 84 MB."""
LICENCE = "MIT"
"""By the repository's card. In facebookresearch/demucs#327 the author had called the weights `for scientific purposes`."""
RATE = 44100

WINDOW_SECONDS, OVERLAP_SECONDS = 60.0, 4.0
"""One call's sound: four stems of a minute are 85 MB. Inside, demucs works in pieces of its own."""
PIECE_OVERLAP = 0.25
"""Share of a piece that the next one covers: Demucs' default."""

_CLASSES = ("demucs.htdemucs.HTDemucs", "demucs.hdemucs.HDemucs", "demucs.demucs.Demucs")
_OFFLINE = "use engine repet or none, which download nothing"


class DemucsEngine:
    """Separates with a bag of Demucs models. Loads them on first use, once.

    Args:
        model: a Hub repository or a folder, as above.
        revision: branch, tag or commit of the repository; a folder has none.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, ...
    """

    def __init__(self, model: str = REPOSITORY, revision: str = "main", device: str = "auto") -> None:
        self.model, self.revision, self._device = model, revision, device

    @cached_property
    def info(self) -> EngineInfo:
        """Name, version of the package and of the weights, licence of the published weights."""
        folder = Path(self.model)
        if folder.is_dir():
            weights, licence = _digest(folder), "unknown"
        else:
            weights, licence = f"{self.model}@{self.revision}", LICENCE if self.model == REPOSITORY else "unknown"
        return EngineInfo("demucs", f"{_version()} {weights}", licence)

    def check(self) -> None:
        """Loads the models.

        Raises:
            UsageError: the package is missing, or the weights cannot be had or do not load; the message says what to do.
        """
        for package in ("torch", "demucs"):
            if importlib.util.find_spec(package) is None:
                raise UsageError(f"engine demucs needs {package}: pip install 'cineforge_hf[separation]', or {_OFFLINE}")
        _ = self._bag

    def rate(self, native: int) -> int:
        """Always 44.1 kHz, as the models were trained."""
        return RATE

    def separate(self, mix: Iterator[Sound], rate: int) -> Iterator[Sound]:
        """See `SeparationEngine.separate`."""
        yield from in_windows(mix, self._vocals, round(WINDOW_SECONDS * rate), round(OVERLAP_SECONDS * rate))

    def _vocals(self, mix: Sound) -> Sound:
        import torch
        from demucs.apply import apply_model

        # The models know stereo only: mono is given twice, and what comes back is averaged.
        sound = torch.from_numpy(np.array(np.broadcast_to(mix, (2, mix.shape[1]))))
        # Level and offset of the middle are normalised as in training (demucs.api.Separator.separate_tensor).
        middle = sound.mean(0)
        mean, scale = middle.mean(), middle.std(correction=0) + 1e-8
        try:
            stems = apply_model(
                self._bag, ((sound - mean) / scale)[None], shifts=0, overlap=PIECE_OVERLAP, device=self._torch_device
            )
        except torch.OutOfMemoryError as error:
            raise SystemicError(f"demucs: {self._torch_device} has too little memory; free some, or use --device cpu") from error
        vocals = stems[0, self._bag.sources.index("vocals")] * scale + mean
        found = vocals.numpy()
        return np.asarray(found if len(mix) == 2 else found.mean(axis=0, keepdims=True), np.float32)

    @cached_property
    def _torch_device(self) -> str:
        import torch

        if self._device != "auto":
            return self._device
        return "cuda" if torch.cuda.is_available() else "cpu"

    @cached_property
    def _bag(self) -> Any:
        import torch

        torch.set_num_threads(1)
        folder = self._folder()
        try:
            return _load(folder)
        except SystemExit as error:  # demucs.utils.fatal
            raise UsageError(f"demucs cannot load the weights in {folder}; download them again, or {_OFFLINE}") from error
        except UsageError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise UsageError(
                f"the weights in {folder} do not load ({type(error).__name__}: {reason}); download them again, or {_OFFLINE}"
            ) from error

    def _folder(self) -> Path:
        """The folder with the weights; downloaded, or found in the Hub's cache.

        Raises:
            UsageError: there is no such folder and the Hub has no such repository or cannot be reached.
        """
        if Path(self.model).is_dir():
            return Path(self.model)
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

        try:
            return Path(snapshot_download(self.model, revision=self.revision, allow_patterns=["*.yaml", "*.safetensors"]))
        except HFValidationError as error:
            raise UsageError(f"separate: model {self.model!r} is neither a folder nor a Hub repository (owner/name)") from error
        except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
            raise UsageError(
                f"cannot download the weights of {self.model} at {self.revision} ({type(error).__name__}); connect to the Hub "
                f"once (hf download {self.model}), or give a folder with these files as `model`, or {_OFFLINE}"
            ) from error


def _load(folder: Path) -> Any:
    """The bag of models of a folder."""
    from demucs.apply import BagOfModels
    from demucs.hf import load_safetensors_model

    recipe = _recipe(folder)
    models = []
    for signature in recipe["models"]:
        path = folder / f"{signature}.safetensors"
        _refuse_unknown(path)
        models.append(load_safetensors_model(path))
    bag = BagOfModels(models, recipe.get("weights"), recipe.get("segment"))
    if "vocals" not in bag.sources or bag.samplerate != RATE or bag.audio_channels != 2:
        raise UsageError(f"{folder}: separate needs a 44.1 kHz stereo model with a stem named vocals, such as {REPOSITORY}")
    bag.eval()
    return bag


def _recipe(folder: Path) -> dict[str, Any]:
    found = sorted(folder.glob("*.yaml"))
    recipe = yaml.safe_load(found[0].read_text(encoding="utf-8")) if len(found) == 1 else None
    if not isinstance(recipe, dict) or not recipe.get("models"):
        raise UsageError(f"{folder}: no single .yaml that lists `models`; give a folder with the files of {REPOSITORY}")
    return recipe


def _refuse_unknown(path: Path) -> None:
    """Refuse weights whose metadata would import anything but a Demucs model: they name their own class."""
    from safetensors import safe_open

    with safe_open(str(path), framework="numpy") as file:
        metadata = file.metadata() or {}
    if metadata.get("klass") not in _CLASSES or "structure" in metadata:
        raise UsageError(f"{path}: holds {json.dumps(metadata.get('klass'))}, not one of {', '.join(_CLASSES)}")


def _digest(folder: Path) -> str:
    """First 12 hex digits of the SHA-256 of a folder's weights."""
    digest = hashlib.sha256()
    for path in sorted([*folder.glob("*.yaml"), *folder.glob("*.safetensors")]):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:12]


def _version() -> str:
    try:
        return importlib.metadata.version("demucs")
    except importlib.metadata.PackageNotFoundError:
        return "missing"
