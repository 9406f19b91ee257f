"""Pictures on the source clock.

`iter_frames` samples the picture at a true clock (25 per second by default), whatever the film's own rate: tick k shows the
frame that a player shows at that time. The film is sought once and decoded in order. Rotation and pixel aspect are applied
and interlaced frames are made progressive, so that a picture looks as a viewer sees it.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import av.error
import av.filter
import numpy as np
from av.video.reformatter import Colorspace, VideoReformatter
from numpy.typing import NDArray

from cineforge_hf.errors import MediaError
from cineforge_hf.media.decode import JITTER_SECONDS, frames_from, stamp_seconds
from cineforge_hf.media.source import THREADS, MediaSource, media_name

Image = NDArray[np.uint8]

HD_HEIGHT = 720
"""From this height on, a film that does not name its colour matrix is taken as BT.709, as players do."""

_UNSPECIFIED_MATRIX = 2  # AVCOL_SPC_UNSPECIFIED
_INTERLACED_ORDERS = {2, 3, 4, 5}  # AV_FIELD_TT, BB, TB, BT


@dataclass(frozen=True)
class Frame:
    """One picture.

    Attributes:
        time: seconds from the start of the range.
        image: uint8, (height, width, 3) RGB, or (height, width) when gray.
    """

    time: float
    image: Image


@dataclass(frozen=True)
class Picture:
    """A decoded frame, not yet converted.

    Attributes:
        time: seconds on the source clock.
        tolerance: seconds by which the stamp may be rounded (half a unit of the time base).
        duration: seconds, 0 when unknown.
        rotation: degrees counterclockwise by which players turn it.
        aspect: width of a stored pixel over its height.
        frame: PyAV's frame, progressive.
    """

    time: float
    tolerance: float
    duration: float
    rotation: int
    aspect: float
    frame: Any


def iter_frames(
    path: MediaSource,
    *,
    start: float = 0.0,
    end: float | None = None,
    fps: float | None = 25.0,
    width: int | None = None,
    gray: bool = False,
    stream: int | None = None,
) -> Iterator[Frame]:
    """Walk through a film's pictures.

    Args:
        path: the film, or its bytes.
        start: seconds on the source clock.
        end: seconds on the source clock; None for the end of the picture. Beyond it the last frame stays.
        fps: ticks per second: tick k shows the frame that is on the screen at start + k / fps (the first frame, before
            it). None for every frame at its own time; the one that covers `start` then comes first, at time 0.
        width: pixels to scale to, keeping the shape as displayed; None for the displayed size.
        gray: one channel instead of RGB.
        stream: stream number of the picture; None for the first.

    Yields:
        With `fps` and `end`, exactly round((end - start) * fps) pictures at k / fps.

    Raises:
        MediaError: `no_video_stream`, `no_frames`, `undecodable`, `bad_range`, or why the file cannot be opened.
    """
    if start < 0 or (end is not None and end < start) or (fps is not None and fps <= 0):
        raise MediaError(
            "bad_range", f"cannot show pictures from {start} s to {end} s at {fps} fps; times are seconds from the start"
        )
    render = Renderer(width, gray)
    with closing(pictures(path, start, end, stream)) as shown:
        if fps is None:
            for picture in shown:
                yield Frame(max(0.0, picture.time - start), render(picture))
            return
        for tick, picture in _ticks(shown, start, end, fps):
            yield Frame(tick / fps, render(picture))


def _ticks(shown: Iterator[Picture], start: float, end: float | None, fps: float) -> Iterator[tuple[int, Picture]]:
    """Each tick's number with the picture on the screen at that time."""
    count = None if end is None else round((end - start) * fps)
    tick, current = 0, next(shown)
    for following in shown:
        while (count is None or tick < count) and start + tick / fps < following.time - following.tolerance - JITTER_SECONDS:
            yield tick, current
            tick += 1
        current = following
    if count is None:
        count = round((current.time + current.duration - start) * fps)
    for rest in range(tick, count):
        yield rest, current


def pictures(
    path: MediaSource, start: float, end: float | None, stream: int | None = None, quick: bool = False
) -> Generator[Picture, None, None]:
    """Decode the frames on the screen from `start` (whichever covers it, else the first or last) to before `end`.

    Args:
        path: the film, or its bytes.
        start: seconds on the source clock.
        end: seconds on the source clock; None for the end of the picture.
        stream: stream number; None for the first picture.
        quick: see `pick_stream`.

    Yields:
        At least one picture, in order of time, progressive.

    Raises:
        MediaError: `no_frames` when nothing can be decoded, and see `iter_frames`.
    """
    covering: Picture | None = None
    begun = False
    with closing(_progressive(path, start, stream, quick)) as source:
        for picture in source:
            slack = picture.tolerance + JITTER_SECONDS
            if picture.time <= start + slack:
                covering = picture
                continue
            if covering is not None and not begun:
                yield covering
            begun = True
            if end is not None and picture.time >= end - slack:
                # Before the first frame's time the first frame is shown, however late it comes.
                if covering is None:
                    yield picture
                return
            covering = picture
            yield picture
    if not begun:
        if covering is None:
            raise MediaError("no_frames", f"{media_name(path)}: no frame can be decoded at {start:.3f} s; replace the file")
        yield covering


def _progressive(path: MediaSource, start: float, stream: int | None, quick: bool) -> Generator[Picture, None, None]:
    """Decoded frames from shortly before `start`, deinterlaced where they are interlaced."""
    graph: Any = None
    rotation, tolerance, aspect, fallback = 0, 0.0, 1.0, 0.04
    previous: float | None = None

    def picture(frame: Any, opened: Any) -> Picture | None:
        nonlocal previous
        seconds = stamp_seconds(opened, frame)
        if seconds is None:
            return None
        if previous is not None and seconds <= previous:  # a broken stamp: time never runs backwards
            return None
        previous = seconds
        duration = float(frame.duration * frame.time_base) if frame.duration else fallback
        return Picture(seconds, tolerance, duration, rotation, aspect, frame)

    opened = None
    for opened, track, frame in frames_from(path, "video", stream, start, 0.0, quick):
        if tolerance == 0.0:
            tolerance = float(track.time_base) / 2
            rotation = round(frame.rotation / 90) * 90
            aspect = float(track.sample_aspect_ratio or 0) or 1.0
            fallback = float(1 / track.guessed_rate) if track.guessed_rate else 0.04
            if track.codec_context.field_order in _INTERLACED_ORDERS or frame.interlaced_frame:
                graph = _deinterlacer(track, frame)
        if graph is None:
            out = [frame]
        else:
            graph.vpush(frame)
            out = list(_pull(graph))
        for each in out:
            shown = picture(each, opened)
            if shown is not None:
                yield shown
    if graph is not None:
        graph.vpush(None)
        for each in _pull(graph):
            shown = picture(each, opened)
            if shown is not None:
                yield shown


def _deinterlacer(track: Any, frame: Any) -> Any:
    """A filter graph that makes interlaced frames progressive, one for one, and leaves progressive frames alone."""
    graph = av.filter.Graph()
    graph.threads = THREADS
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=track.time_base)
    graph.link_nodes(source, graph.add("bwdif", mode="send_frame", deint="interlaced"), graph.add("buffersink")).configure()
    return graph


def _pull(graph: Any) -> Iterator[Any]:
    while True:
        try:
            yield graph.vpull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return


class Renderer:
    """Converts pictures to arrays as displayed: colour matrix, pixel aspect, scale, rotation.

    Args:
        width: pixels to scale to after rotation; None for the displayed size.
        gray: one channel instead of RGB.
    """

    def __init__(self, width: int | None, gray: bool) -> None:
        self._width = width
        self._gray = gray
        # One scaler for all frames: FFmpeg builds its tables once.
        self._scaler = VideoReformatter()

    def __call__(self, picture: Picture) -> Image:
        """Convert one picture to uint8 (height, width, 3) or (height, width)."""
        frame, turns = picture.frame, picture.rotation // 90 % 4
        width, height = max(1, round(frame.width * picture.aspect)), frame.height
        if self._width is not None:
            across = height if turns % 2 else width
            width, height = (max(1, round(side * self._width / across)) for side in (width, height))
        unnamed_hd = frame.colorspace == _UNSPECIFIED_MATRIX and frame.height >= HD_HEIGHT
        shrinks = width < frame.width or height < frame.height
        converted = self._scaler.reformat(
            frame,
            width=width,
            height=height,
            format="gray" if self._gray else "rgb24",
            src_colorspace=Colorspace.ITU709 if unnamed_hd else None,
            # Averaging when shrinking: interpolation alone would alias.
            interpolation="AREA" if shrinks else "BICUBIC",
            threads=THREADS,
        )
        return np.ascontiguousarray(np.rot90(converted.to_ndarray(), turns))
