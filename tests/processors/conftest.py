"""Films for the stages: the packaged sample, and tiny ones made on the spot."""

from __future__ import annotations

import os
from collections.abc import Callable
from fractions import Fraction
from importlib.resources import files
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from cineforge_hf import schema

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def sample_film() -> Path:
    """The film that ships with the package, with its subtitles beside it."""
    path = Path(str(files("cineforge_hf.assets"))) / "sample_film.mp4"
    if not path.is_file():
        pytest.skip("the sample film is not built yet")
    return path


@pytest.fixture(scope="session")
def clips_folder() -> Path:
    """Real clips with known truth, which are not part of the repository."""
    folder = Path(os.environ.get("CINEFORGE_CLIPS", REPO.parent / "shared" / "clips"))
    if not (folder / "clips.jsonl").is_file():
        pytest.skip("no folder of real clips; name one in CINEFORGE_CLIPS")
    return folder


@pytest.fixture
def film_row() -> Callable[..., dict[str, Any]]:
    """A row with every column of the scan and of `Ingest`, null where not given."""

    def make(**columns: Any) -> dict[str, Any]:
        names = schema.columns_of("films") + schema.columns_of("ingest")
        return {**dict.fromkeys(names), "film_id": "0123456789ab", "title": "A film", "sha256": "00", **columns}

    return make


@pytest.fixture
def make_film(tmp_path: Path) -> Callable[..., Path]:
    """Writes a film of grey pictures and a tone, optionally with an SRT file muxed in."""

    def make(
        name: str = "film.mkv", seconds: float = 3.0, *, video: bool = True, audio: bool = True, srt: str | None = None
    ) -> Path:
        path = tmp_path / name
        with av.open(str(path), "w") as out:
            picture = out.add_stream("mpeg4", rate=25, width=64, height=48, pix_fmt="yuv420p") if video else None
            sound = out.add_stream("aac", rate=16000, layout="mono") if audio else None
            subtitle_file = None
            if srt is not None:
                source = tmp_path / "embedded.srt"
                source.write_text(srt, encoding="utf-8")
                subtitle_file = av.open(str(source))
                text = out.add_stream_from_template(subtitle_file.streams.subtitles[0])
                text.metadata["language"] = "eng"
            if picture:
                for i in range(round(seconds * 25)):
                    frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), i % 200, np.uint8), "rgb24")
                    frame.pts, frame.time_base = i, Fraction(1, 25)
                    out.mux(picture.encode(frame))
                out.mux(picture.encode())
            if sound:
                tone = 0.1 * np.sin(np.arange(round(seconds * 16000)) * 0.2, dtype=np.float32)
                for i in range(0, len(tone), 1024):
                    block = av.AudioFrame.from_ndarray(tone[None, i : i + 1024], "fltp", "mono")
                    block.sample_rate, block.pts, block.time_base = 16000, i, Fraction(1, 16000)
                    out.mux(sound.encode(block))
                out.mux(sound.encode())
            if subtitle_file is not None:
                for packet in subtitle_file.demux():
                    if packet.dts is not None:
                        packet.stream = text
                        out.mux(packet)
                subtitle_file.close()
        return path

    return make
