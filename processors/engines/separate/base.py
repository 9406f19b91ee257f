"""What every separation engine is: blocks of a mix in, blocks of its vocals out.

What is not vocals is the mix minus the vocals, which the stage computes, so that the two add up whatever the engine does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from cineforge_hf.errors import UsageError
from cineforge_hf.media.mixing import Sound
from cineforge_hf.processor import EngineInfo

ENGINES = ("demucs", "repet", "none")


class SeparationEngine(Protocol):
    """A way to tell voices from the rest."""

    @property
    def info(self) -> EngineInfo:
        """Name, revision of the weights and their licence."""

    def check(self) -> None:
        """Raises `UsageError` where a package or the weights are missing."""

    def rate(self, native: int) -> int:
        """Hz at which the engine wants sound whose own rate is `native`."""

    def separate(self, mix: Iterator[Sound], rate: int) -> Iterator[Sound]:
        """Finds the vocals of a sound.

        Args:
            mix: float32 blocks of shape (1 or 2, n).
            rate: Hz of the blocks, as `rate` said.

        Yields:
            float32 blocks of the same number of channels, in all as many samples; sizes need not be those of the mix.
        """


def load_engine(name: str, model: str, revision: str, device: str) -> SeparationEngine | None:
    """The engine of that name; None for `none`.

    Args:
        name: one of `ENGINES`.
        model: weights of `demucs`: a Hub repository or a folder.
        revision: branch, tag or commit of a Hub repository.
        device: `auto`, `cpu`, `cuda`, ...

    Raises:
        UsageError: no such engine.
    """
    if name == "demucs":
        from cineforge_hf.processors.engines.separate.demucs import DemucsEngine

        return DemucsEngine(model, revision, device)
    if name == "repet":
        from cineforge_hf.processors.engines.separate.repet import RepetEngine

        return RepetEngine()
    if name == "none":
        return None
    raise UsageError(f"separate: no engine {name!r}; choose {', '.join(ENGINES)}")
