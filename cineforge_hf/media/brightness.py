"""How bright a part of the picture is, frame by frame: the cheap way to watch for what appears and disappears in it.

Reading only the rows that matter, and only their luma, costs a tenth of a whole RGB picture, so that every frame of a film can
be looked at. `ahead` decodes in a thread of its own while the caller works on what it has.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from contextlib import closing, suppress
from typing import Any, TypeVar

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from cineforge_hf.errors import MediaError
from cineforge_hf.media.frames import Frame, Image, Picture, Renderer, pictures
from cineforge_hf.media.source import THREADS, MediaSource

_Item = TypeVar("_Item")


def iter_luma(
    path: MediaSource,
    *,
    width: int,
    top: float = 0.0,
    bottom: float = 1.0,
    start: float = 0.0,
    end: float | None = None,
    stream: int | None = None,
) -> Iterator[Frame]:
    """Walk through the luma of a horizontal band of the picture, every decoded frame at its own time.

    Args:
        path: the film, or its bytes.
        width: pixels to scale the band to, keeping the shape as displayed.
        top: upper edge of the band as a share of the picture's height.
        bottom: lower edge, likewise.
        start: seconds on the source clock.
        end: seconds on the source clock; None for the end of the picture.
        stream: stream number of the picture; None for the first.

    Yields:
        Gray frames of shape (height of the band, width), times relative to `start`; see `iter_frames`.

    Raises:
        MediaError: `bad_range` for a band without height, and see `iter_frames`.
    """
    if not 0 <= top < bottom <= 1:
        raise MediaError("bad_range", f"a band from {top} to {bottom} of the picture's height has no pixels; give 0 to 1")
    crop = _BandRenderer(width, top, bottom)
    with closing(pictures(path, start, end, stream, quick=True)) as shown:
        for picture in shown:
            yield Frame(max(0.0, picture.time - start), crop(picture))


class _BandRenderer:
    """Crops first and scales then; what is stored in an unusual way is converted whole first."""

    def __init__(self, width: int, top: float, bottom: float) -> None:
        self._width, self._top, self._bottom = width, top, bottom
        self._whole = Renderer(width, gray=True)
        self._scaler = VideoReformatter()

    def __call__(self, picture: Picture) -> Image:
        frame = picture.frame
        plane = _luma_plane(frame)
        if picture.rotation or plane is None:
            return np.ascontiguousarray(self._rows(self._whole(picture)))
        displayed = self._width * frame.height / max(1.0, frame.width * picture.aspect)
        height = max(1, round(displayed * (self._bottom - self._top)))
        band = av.VideoFrame.from_ndarray(np.ascontiguousarray(self._rows(plane)), format="gray")
        shrinks = self._width < frame.width
        scaled = self._scaler.reformat(
            band, width=self._width, height=height, interpolation="AREA" if shrinks else "BICUBIC", threads=THREADS
        )
        return np.ascontiguousarray(scaled.to_ndarray())

    def _rows(self, image: Image) -> Image:
        height = len(image)
        first = min(round(self._top * height), height - 1)
        return image[first : max(first + 1, round(self._bottom * height))]


def _luma_plane(frame: Any) -> Image | None:
    """The stored luma without a copy, (height, width); None where it is not a plane of bytes."""
    name = frame.format.name
    if frame.format.components[0].bits != 8 or not name.startswith(("yuv", "nv12", "nv21", "gray")) or "yuyv" in name:
        return None
    plane = frame.planes[0]
    if plane.line_size < plane.width:  # Negative strides flip the picture.
        return None
    rows = np.frombuffer(plane, np.uint8)[: plane.height * plane.line_size].reshape(plane.height, plane.line_size)
    return rows[:, : plane.width]


def ahead(items: Iterator[_Item], depth: int) -> Generator[_Item, None, None]:
    """The same items, made by a thread that runs at most `depth` items ahead.

    The thread ends with the iterator, also where the caller stops early; its errors are raised here.

    Args:
        items: a generator; it is closed by the thread.
        depth: items held at most; 0 for any number.

    Yields:
        The items, in order.
    """
    box: queue.Queue[tuple[_Item | None, BaseException | None, bool]] = queue.Queue(depth)
    stop = threading.Event()

    def put(entry: tuple[_Item | None, BaseException | None, bool]) -> bool:
        while not stop.is_set():
            with suppress(queue.Full):
                box.put(entry, timeout=0.1)
                return True
        return False

    def work() -> None:
        error: BaseException | None = None
        try:
            for item in items:
                if not put((item, None, False)):
                    break
        except BaseException as raised:  # It belongs to the caller, who may know what to do with it.
            error = raised
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()
        put((None, error, True))

    thread = threading.Thread(target=work, name="ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, error, last = box.get()
            if error is not None:
                raise error
            if last:
                return
            yield item  # type: ignore[misc]  # Only the last entry has no item.
    finally:
        stop.set()
        thread.join()
