"""Tiny films whose every frame says its number, and whose sound clicks at known times."""

import os
import shutil
import subprocess
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

WIDTH, HEIGHT, BLOCK = 160, 64, 16
BITS = 10


def picture(number: int) -> np.ndarray:
    """A frame: its number in black and white blocks above, and something to code below."""
    image = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    for bit in range(BITS):
        image[: BLOCK * 2, bit * BLOCK : (bit + 1) * BLOCK] = 235 if number >> bit & 1 else 20
    x = number * 3 % (WIDTH - 24)
    image[36:60, x : x + 24] = (200, 60 + number % 100, 40)
    return image


def number_of(image: np.ndarray) -> int:
    """Read a frame's number back, at any size."""
    gray = image.mean(axis=2) if image.ndim == 3 else image
    height, width = gray.shape
    blocks = gray[: height // 2].reshape(height // 2, -1)
    step = width / BITS
    middle = blocks[height // 8 : height // 3]
    return sum(
        1 << bit for bit in range(BITS) if middle[:, round(bit * step + step / 4) : round(bit * step + 3 * step / 4)].mean() > 128
    )


def clicks(seconds: float, rate: int, channels: int, every: float = 1.0, first: float = 0.5, noise: float = 0.0) -> np.ndarray:
    """Short bursts at first, first + every, ...: float32 (channels, n)."""
    sound = np.zeros((channels, round(seconds * rate)), np.float32)
    rng = np.random.default_rng(7)
    if noise:
        sound += rng.normal(0, noise, sound.shape).astype(np.float32)
    for time in np.arange(first, seconds - 0.05, every):
        at = round(time * rate)
        burst = np.sin(2 * np.pi * 1000 / rate * np.arange(round(0.03 * rate))).astype(np.float32) * 0.8
        sound[:, at : at + len(burst)] += burst * np.where(np.arange(len(burst)) == 0, 1, 1)
    return sound


def onsets(sound: np.ndarray, rate: int, threshold: float = 0.2) -> list[float]:
    """Times at which bursts begin, in seconds."""
    loud = np.flatnonzero(np.abs(sound).max(axis=0) > threshold)
    starts = loud[np.concatenate([[True], np.diff(loud) > 0.1 * rate])] if len(loud) else loud
    return [float(at) / rate for at in starts]


def make_film(
    path: Path,
    *,
    seconds: float = 4.0,
    rate: Fraction | int = 25,
    times: list[float] | None = None,
    video: str | None = "libx264",
    video_options: dict[str, str] | None = None,
    pixels: str = "yuv420p",
    aspect: Fraction | None = None,
    rotation: int = 0,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    sounds: list[dict] | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """Write a film; `times` gives the frames' own times (VFR), `sounds` one dict per track."""
    sounds = [{}] if sounds is None else sounds
    with av.open(str(path), "w", container_options=options or {}) as container:
        lanes = []
        if video:
            stream = container.add_stream(video, rate=rate)
            stream.width, stream.height, stream.pix_fmt = *size, pixels
            stream.codec_context.thread_count = 1
            if times is not None:
                stream.codec_context.time_base = Fraction(1, 90000)
            if aspect:
                stream.sample_aspect_ratio = aspect
            stream.options = {"preset": "ultrafast", "crf": "18"} if video_options is None else video_options
            if rotation:
                stream.set_display_rotation(rotation)
        tracks = [(dict(sound), _track(container, sound)) for sound in sounds]
        container.start_encoding()
        if video:
            unit = stream.codec_context.time_base
            moments = times if times is not None else [float(k / Fraction(rate)) for k in range(round(seconds * Fraction(rate)))]
            packets = []
            for number, moment in enumerate(moments):
                frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24").reformat(*size, format=pixels)
                frame.pts, frame.time_base = round(moment / unit), unit
                packets += stream.encode(frame)
            lanes.append(packets + stream.encode(None))
        lanes += [_sound_packets(track, sound, seconds) for sound, track in tracks]
        packets = sorted((p for lane in lanes for p in lane), key=lambda p: p.dts * p.time_base)
        for packet in packets:
            container.mux(packet)
    return path


def _track(container, sound):
    track = container.add_stream(sound.get("codec", "aac"), rate=sound.get("rate", 44100))
    track.codec_context.layout = sound.get("layout", "stereo")
    if "format" in sound:
        track.codec_context.format = sound["format"]
    for key in ("language", "title"):
        if key in sound:
            track.metadata[key] = sound[key]
    if "disposition" in sound:
        track.disposition = sound["disposition"]
    return track


def _sound_packets(track, sound, seconds):
    context = track.codec_context
    rate, start = context.sample_rate, sound.get("start", 0.0)
    data = sound.get("data")
    if data is None:
        length = sound.get("seconds", seconds - start)
        first = (0.5 - start) % 1.0
        data = clicks(length, rate, context.layout.nb_channels, first=first, noise=sound.get("noise", 0.0))
    skip = sound.get("gap")
    packets, size = [], 1024
    for at in range(0, data.shape[1], size):
        if skip and skip[0] * rate <= at < skip[1] * rate:
            continue
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(data[:, at : at + size]), format="fltp", layout=context.layout.name
        )
        frame.sample_rate, frame.pts, frame.time_base = rate, at + round(start * rate), Fraction(1, rate)
        packets += track.encode(frame)
    return packets + track.encode(None)


@pytest.fixture(scope="session")
def film(tmp_path_factory) -> Callable[..., Path]:
    """Make a film once a session: film("name.mp4", **settings)."""
    folder, made = tmp_path_factory.mktemp("films"), {}

    def make(name: str, **settings) -> Path:
        key = (name, repr(sorted(settings.items(), key=lambda item: item[0])))
        if key not in made:
            made[key] = make_film(folder / f"{len(made)}-{name}", **settings)
        return made[key]

    return make


@pytest.fixture(scope="session")
def read():
    """Functions that read the marks back."""

    class Read:
        number = staticmethod(number_of)
        onsets = staticmethod(onsets)
        picture = staticmethod(picture)
        clicks = staticmethod(clicks)

    return Read


@pytest.fixture(scope="session")
def ffmpeg():
    """Run the ffmpeg program; what it says is returned."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("the ffmpeg program is not installed")

    def run(*arguments, check=True) -> str:
        command = ["ffmpeg", "-hide_banner", "-nostdin", "-v", "warning", "-y", *map(str, arguments)]
        return subprocess.run(command, check=check, capture_output=True, text=True).stderr

    return run


@pytest.fixture(scope="session")
def clips() -> Path:
    """The folder of real clips."""
    folder = Path(os.environ.get("CINEFORGE_CLIPS", Path(__file__).parents[4] / "shared" / "clips"))
    if not (folder / "clips.jsonl").exists():
        pytest.skip("no real clips; set CINEFORGE_CLIPS to their folder")
    return folder
