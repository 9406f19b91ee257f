"""Write the film file: H.264 and AAC in MP4, the same bytes on every run on one machine."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace
from numpy.typing import NDArray

from cineforge_hf.dataset_scripts.sample_film.script import FPS, HEIGHT, SAMPLE_RATE, WIDTH

_BT709 = 1  # number of BT.709 in H.264's tables of primaries, transfer and matrix


def write_film(path: Path, pictures: Iterable[NDArray[np.uint8]], sound: NDArray[np.float32], crf: int = 24) -> None:
    """Encode RGB pictures of shape (height, width, 3) and stereo sound of shape (2, samples)."""
    options = {"movflags": "+faststart", "fflags": "+bitexact"}
    with av.open(str(path), "w", format="mp4", options=options) as box:
        video = box.add_stream("libx264", rate=FPS)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        video.options = {"crf": str(crf), "preset": "slow", "tune": "film", "threads": "1", "flags": "+bitexact", "g": "48"}
        context = video.codec_context
        context.color_primaries = context.color_trc = context.colorspace = _BT709
        context.color_range = ColorRange.MPEG
        audio = box.add_stream("aac", rate=SAMPLE_RATE, layout="stereo")
        audio.bit_rate = 112_000
        audio.options = {"flags": "+bitexact"}

        per_frame = SAMPLE_RATE // FPS
        for number, rgb in enumerate(pictures):
            picture = av.VideoFrame.from_ndarray(rgb, "rgb24")
            picture = picture.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG)
            picture.pts = number
            box.mux(video.encode(picture))
            # Interleaved with the picture, so that players need not seek.
            piece = np.ascontiguousarray(sound[:, number * per_frame : (number + 1) * per_frame])
            noise = av.AudioFrame.from_ndarray(piece, "fltp", "stereo")
            noise.sample_rate, noise.pts = SAMPLE_RATE, number * per_frame
            box.mux(audio.encode(noise))
        box.mux(video.encode(None))
        box.mux(audio.encode(None))
