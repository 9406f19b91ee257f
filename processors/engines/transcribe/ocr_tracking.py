"""When a burnt-in line appears and disappears, to the frame, with as little reading as possible.

Text is strokes that stay where they are: bright and dark within a few pixels, unmoved from frame to frame. A look every eighth
of a second asks whether there are strokes that were not there before; only then is the picture read, averaged over the frames
in between, which sharpens text and blurs what moves behind it. Once a line is known, every frame is compared with it on its own
strokes alone: the line is there while their contrast is at least half of its own. That finds the first and the last frame of
a line that pops up or fades, and the exact change from one line to the next, on still and moving pictures alike.

Invariants: frames are looked at once, in order; memory holds `HISTORY` seconds of the band; a line read again is not a new line.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt
from rapidfuzz import fuzz

from cineforge_hf.media import Frame
from cineforge_hf.processors.engines.transcribe.ocr_reader import Gray, TextRow

Strokes = npt.NDArray[np.int16]
Mask = npt.NDArray[np.bool_]


class Reader(Protocol):
    """What finds and reads the rows of a picture."""

    def locate(self, image: Gray) -> list[TextRow]:
        """Rows without their text, for a fraction of the work."""

    def read(self, image: Gray, located: list[TextRow] | None = None) -> list[TextRow]:
        """Rows with their text, perhaps of those that were located."""


LOOK = 0.12
"""Seconds between looks, and for which strokes must stay to be text."""
HISTORY = 1.5
"""Seconds of frames kept, to find a line's first frame after it was read."""
SETTLE = 0.25
"""Seconds after its discovery at which a line's strokes are taken as its full contrast: fades are shorter."""
PATIENCE = (0.25, 1.0)
"""Seconds to wait after a look that found nothing new, doubling; `HISTORY` makes up for them."""
ADDITION = 0.25
"""Strokes beside a known line that may be an addition to it, as a share of its own; less is what moves behind it."""
SAME_PLACE = 20
"""Pixels by which a row's edges may be off and still be the known row's."""
HALF = 0.5
"""Share of a line's own contrast at which it appears and disappears."""
GONE = 0.2
"""Share below which it has disappeared."""
UNLIKE = 0.25
"""Correlation with its own strokes below which something else is in its place."""
FADE = 0.25
"""Seconds that a fade spends between the two at most; even one of a second does not."""
CONTRAST = 24
"""Luma steps against the surroundings that make a stroke. Subtitles have 60 and more."""
CLIP = 64
"""Contrast beyond this counts no more, so that a lamp behind the text does not outweigh it."""
SURROUNDINGS = 11
"""Pixels: wider than a stroke of 640-pixel subtitles, narrower than a character."""
RIM = 0.15
"""Share of a located row's height that lies outside its characters: the edges of a box behind them tell nothing."""
FEWEST = 60
"""New stroke pixels that are worth a look: half a Chinese character."""
SAME_TEXT = 80
"""Similarity in percent from which two readings are of one line."""


@dataclass
class Shown:
    """A line that was on the screen.

    Args:
        start: seconds of the first frame that shows it.
        end: seconds of the first frame that does not.
        readings: its rows, each time that it was read; coordinates in pixels of the band.
    """

    start: float
    end: float
    readings: list[list[TextRow]]


@dataclass
class _Line:
    rows: list[TextRow]
    since: float
    known_at: float
    watched: list[TextRow]
    contrast: npt.NDArray[np.float32]
    readings: list[list[TextRow]] = field(default_factory=list)
    settled: bool = False
    missing_since: float | None = None
    started: float = 0.0


@dataclass(frozen=True)
class _Look:
    time: float
    luma: Gray
    strokes: Strokes


def track_lines(frames: Iterable[Frame], reader: Reader) -> Iterator[Shown]:
    """Follow the lines of a band.

    Args:
        frames: gray pictures of the band, every frame of the film, in order.
        reader: reads such a picture.

    Yields:
        Lines in order of their end, without overlap.
    """
    tracker = _Tracker(reader)
    for frame in frames:
        yield from tracker.push(frame)
    yield from tracker.finish()


class _Tracker:
    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._history: deque[_Look] = deque()
        self._line: _Line | None = None
        self._background: Mask | None = None
        self._next_look = 0.0
        self._patience = PATIENCE[0]
        self._not_before = 0.0
        self._free_from = 0.0
        self._step = 0.04

    def push(self, frame: Frame) -> Iterator[Shown]:
        """Take the next frame; gives lines that have ended."""
        if self._history:
            self._step = frame.time - self._history[-1].time
        now = _Look(frame.time, frame.image, _strokes(frame.image))
        self._history.append(now)
        while now.time - self._history[0].time > HISTORY:
            self._history.popleft()
        yield from self._follow(now)
        changing = self._line is not None and self._line.missing_since is not None
        if now.time >= self._next_look and not changing:
            self._next_look = now.time + LOOK
            yield from self._look(now)

    def finish(self) -> Iterator[Shown]:
        """The line that is on the screen at the end."""
        if self._line is not None:
            yield self._ended(self._line.missing_since or self._history[-1].time + self._step)

    def _follow(self, now: _Look) -> Iterator[Shown]:
        """Is the known line still there?"""
        line = self._line
        if line is None:
            return
        if not line.settled and now.time >= line.known_at + SETTLE:
            self._settle(line)
        share, likeness = _presence(now.strokes, line.contrast, line.rows)
        if share >= HALF and likeness >= UNLIKE:
            line.missing_since = None
        elif line.missing_since is None:
            line.missing_since = now.time  # One damaged frame is not the end.
        elif share < GONE or likeness < UNLIKE:
            yield self._ended(line.missing_since)
        elif now.time - line.missing_since > FADE:
            # Neither there nor gone for longer than a fade takes: another picture behind it, to be learned anew.
            line.contrast = _mean_strokes(self._history, now.time - LOOK)
            line.missing_since = None

    def _look(self, now: _Look) -> Iterator[Shown]:
        """Is there something new, and is it text?"""
        recent = [look for look in self._history if look.time >= max(self._free_from, now.time - 2 * LOOK)]
        then = next((look for look in reversed(recent) if look.time <= now.time - LOOK + 1e-6), None)
        if then is None:
            return
        strong = _persistent(now.strokes, then.strokes)
        near = _widened(strong)
        known = near & self._background if self._background is not None else np.zeros_like(strong)
        self._background = known
        fewest: float = FEWEST
        if self._line is not None:
            own = np.abs(self._line.contrast) > CONTRAST
            known = known | _widened(own)
            fewest = max(FEWEST, ADDITION * np.count_nonzero(own & _inside(self._line.rows, own.shape)))
        if np.count_nonzero(strong & ~known) < fewest or now.time < self._not_before:
            return
        picture = _average(look for look in recent if look.time >= then.time)
        if self._line is None:
            rows = self._reader.read(picture)
            self._background = _widened(strong & ~_inside(rows, strong.shape))
            if rows:
                self._begin(then, now, rows, rows)
            else:
                self._wait(now)
        else:
            yield from self._extend(self._line, then, now, picture)
            self._background = _widened(strong & ~_inside(self._line.rows, strong.shape))

    def _extend(self, line: _Line, then: _Look, now: _Look, picture: Gray) -> Iterator[Shown]:
        """Something is new beside a line that is still there: more text, or what moves behind it."""
        located = self._reader.locate(picture)
        if all(any(_at_same_place(row, old) for old in line.rows) for row in located):
            self._wait(now)
            return
        rows = self._reader.read(picture, located)
        added = [row for row in rows if not any(same_text(row.text, old.text) for old in line.rows)]
        if not added or same_text(text_of(rows), text_of(line.rows)):
            if rows and not added:
                line.readings.append(rows)
            self._wait(now)
            return
        start = self._begin(then, now, rows, added)
        self._line = line
        yield self._ended(max(start.started, line.started))
        self._line = start

    def _wait(self, now: _Look) -> None:
        self._not_before = now.time + self._patience
        self._patience = min(2 * self._patience, PATIENCE[1])

    def _begin(self, then: _Look, now: _Look, rows: list[TextRow], watched: list[TextRow]) -> _Line:
        contrast = _mean_strokes(self._history, then.time)
        line = _Line(rows, then.time, now.time, watched, contrast, [rows])
        line.started = self._first_frame(line)
        self._line = line
        self._patience = PATIENCE[0]
        return line

    def _settle(self, line: _Line) -> None:
        """The line is at its full contrast: look back for the first frame with half of it."""
        line.settled = True
        line.contrast = _mean_strokes(self._history, line.known_at)
        line.started = self._first_frame(line)

    def _first_frame(self, line: _Line) -> float:
        first = line.since
        for look in reversed(self._history):
            if look.time > line.known_at:
                continue
            if look.time < self._free_from or not _shows(look, line):
                break
            first = look.time
        return first

    def _ended(self, end: float) -> Shown:
        line = self._line
        if line is None:
            raise ValueError("no line is on the screen")
        if not line.settled:
            line.since = min(line.since, end)
        self._line = None
        self._free_from = end
        self._next_look = min(self._next_look, end + LOOK)
        self._not_before = 0.0
        return Shown(min(line.started, end), end, line.readings)


def text_of(rows: list[TextRow]) -> str:
    """All rows as one text."""
    return "\n".join(row.text for row in rows)


def same_text(one: str, other: str) -> bool:
    """Whether two readings differ by no more than the reader's errors."""
    return fuzz.ratio(one, other) >= SAME_TEXT


def _at_same_place(row: TextRow, known: TextRow) -> bool:
    sides = (row.left - known.left, row.right - known.right, row.top - known.top, row.bottom - known.bottom)
    return max(abs(side) for side in sides) <= SAME_PLACE


def _strokes(luma: Gray) -> Strokes:
    """Contrast of every pixel with its surroundings, clipped."""
    around = cv2.blur(luma, (SURROUNDINGS, SURROUNDINGS)).astype(np.int16)
    return np.asarray(np.clip(luma.astype(np.int16) - around, -CLIP, CLIP), np.int16)


def _persistent(now: Strokes, then: Strokes) -> Mask:
    return ((now > CONTRAST) & (then > CONTRAST)) | ((now < -CONTRAST) & (then < -CONTRAST))


def _widened(mask: Mask) -> Mask:
    return np.asarray(cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8)), bool)


def _inside(rows: list[TextRow], shape: tuple[int, ...]) -> Mask:
    mask = np.zeros(shape, bool)
    for row in rows:
        mask[_window(row, 3)] = True
    return mask


def _window(row: TextRow, margin: int) -> tuple[slice, slice]:
    return (
        slice(max(0, int(row.top) - margin), max(0, int(row.bottom) + margin + 1)),
        slice(max(0, int(row.left) - margin), max(0, int(row.right) + margin + 1)),
    )


def _average(looks: Iterable[_Look]) -> Gray:
    pictures = [look.luma for look in looks]
    return np.rint(np.mean(pictures, axis=0, dtype=np.float32)).astype(np.uint8)


def _mean_strokes(history: Iterable[_Look], since: float) -> npt.NDArray[np.float32]:
    return np.asarray(np.mean([look.strokes for look in history if look.time >= since], axis=0), np.float32)


def _shows(look: _Look, line: _Line) -> bool:
    share, likeness = _presence(look.strokes, line.contrast, line.watched)
    return share >= HALF and likeness >= UNLIKE


def _presence(strokes: Strokes, contrast: npt.NDArray[np.float32], rows: list[TextRow]) -> tuple[float, float]:
    """How much of a line a frame shows.

    Args:
        strokes: the frame's.
        contrast: the line's own strokes.
        rows: where the line is.

    Returns:
        Contrast on the line's strokes as a share of the line's own, and likeness (correlation, -1 to 1); of the weakest row.
    """
    weakest = (1.0, 1.0)
    for row in rows:
        window = _window(row, -round(RIM * row.height))
        own, seen = contrast[window].ravel(), strokes[window].astype(np.float32).ravel()
        # Without their means, since a box behind the text stays when the text changes.
        own, seen = own - own.mean(), seen - seen.mean()
        common, power, other = float(own @ seen), float(own @ own), float(seen @ seen)
        if power > 0:
            weakest = min(weakest, (common / power, common / max(1e-6, power * other) ** 0.5))
    return weakest
