"""Where a film has its burnt-in subtitles: the rows of the picture in which text keeps its place and changes its content.

Pictures from all over the film are searched for text, first in the lower part, then at the top. A title or credit card
has many rows and is passed over; a logo never changes; a sign in the scene does not come back at the same height.

Invariants: the work is bounded (`MOST_SAMPLES`); samples are taken in an order that spreads them over the film, and no more than
it takes to be sure; the result depends on the film alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import cv2
import numpy as np

from cineforge_hf.processors.engines.transcribe.ocr_reader import Gray, TextRow

ZONES = ((0.6, 1.0), (0.0, 0.25))
"""Shares of the picture's height in which subtitles are looked for: the lower part, then the top."""
MOST_SAMPLES = 64
"""A film with text during a tenth of its time goes unnoticed by 64 samples once in 850 films."""
SAMPLE_STEP = 1.5
"""Seconds between samples at least: a line's typical length."""
SURE = (6, 4)
"""Samples with text at one height, and different texts among them, that end the search."""
MOST_ROWS = 4
"""More rows than this make a card: two lines in each of two languages are the most that subtitles have."""
ROW_HEIGHT = (0.02, 0.12)
"""A row's height as a share of the picture's."""
SHARE = 0.08
"""Share of the samples that must have text at the band's height."""


@dataclass(frozen=True)
class Band:
    """A horizontal band.

    Args:
        top: its upper edge as a share of the picture's height.
        bottom: its lower edge, likewise.
    """

    top: float
    bottom: float


@dataclass(frozen=True)
class _Sighting:
    sample: int
    row: TextRow
    patch: Gray


def sample_times(start: float, end: float) -> list[float]:
    """Times to look at, spread over the range, each new one far from those before.

    Args:
        start: seconds.
        end: seconds.
    """
    count = int(np.clip((end - start) / SAMPLE_STEP, 3, MOST_SAMPLES))
    order = sorted(range(count), key=lambda i: _reversed_bits(i, count))
    return [start + (end - start) * (i + 0.5) / count for i in order]


def find_band(pictures: Iterable[Gray], locate: Callable[[Gray], list[TextRow]], zone: Band, *, few: bool) -> Band | None:
    """Find the band of the subtitles in pictures of a zone.

    Args:
        pictures: gray pictures of the zone, in the order of `sample_times`.
        locate: finds rows of text in such a picture.
        zone: where in the picture they lie.
        few: whether the film is so short that one sighting has to do; what the lines do tells subtitles from logos then.

    Returns:
        The band with room for one more row, or None where no text keeps its place and changes its content.
    """
    sightings: list[_Sighting] = []
    count, height = 0, 1.0
    for number, picture in enumerate(pictures):
        count, height = number + 1, float(len(picture))
        rows = [row for row in locate(picture) if _is_row(row, picture, zone)]
        if len(rows) <= MOST_ROWS:
            sightings += [_Sighting(number, row, _patch(picture, row)) for row in rows]
        best = _best(sightings)
        if (few and best) or (len({s.sample for s in best}) >= SURE[0] and _contents(best) >= SURE[1]):
            break
    chosen = _best(sightings)
    if not few:
        while chosen and _contents(chosen) < 2:  # A logo: whatever else is there counts.
            sightings = [s for s in sightings if s not in chosen]
            chosen = _best(sightings)
        if len({s.sample for s in chosen}) < max(2, SHARE * count):
            return None
    return _around(chosen, sightings, zone, height) if chosen else None


def _reversed_bits(number: int, count: int) -> int:
    return int(format(number, f"0{max(1, (count - 1).bit_length())}b")[::-1], 2)


def _is_row(row: TextRow, picture: Gray, zone: Band) -> bool:
    whole = len(picture) / (zone.bottom - zone.top)
    return ROW_HEIGHT[0] <= row.height / whole <= ROW_HEIGHT[1] and row.right - row.left >= 0.8 * row.height


def _patch(picture: Gray, row: TextRow) -> Gray:
    return picture[max(0, int(row.top)) : int(row.bottom) + 1, max(0, int(row.left)) : int(row.right) + 1]


def _best(sightings: list[_Sighting]) -> list[_Sighting]:
    """The sightings at the height that most samples agree on."""
    groups = [[s for s in sightings if abs(s.row.middle - anchor.row.middle) < 0.5 * anchor.row.height] for anchor in sightings]
    return max(groups, key=lambda group: len({s.sample for s in group}), default=[])


def _contents(sightings: list[_Sighting]) -> int:
    """How many different texts there are."""
    kinds: list[_Sighting] = []
    for sighting in sightings:
        if not any(_same(sighting, kind) for kind in kinds):
            kinds.append(sighting)
    return len(kinds)


def _same(one: _Sighting, other: _Sighting) -> bool:
    if abs(one.row.left - other.row.left) > 8 or abs(one.row.right - other.row.right) > 8:
        return False
    # At one coarse size, since boxes of the same text differ by a pixel or two.
    first, second = (cv2.resize(s.patch, (96, 16), interpolation=cv2.INTER_AREA).astype(np.float64).ravel() for s in (one, other))
    first, second = first - first.mean(), second - second.mean()
    norm = float(np.linalg.norm(first) * np.linalg.norm(second))
    return norm > 0 and float(first @ second) / norm > 0.6


def _around(chosen: list[_Sighting], sightings: list[_Sighting], zone: Band, height: float) -> Band:
    """The rows of the sightings and those right above and below them, with room for another one."""
    middle = float(np.median([s.row.middle for s in chosen]))
    tall = float(np.median([s.row.height for s in chosen]))
    samples = {s.sample for s in chosen}
    rows = [s.row for s in sightings if s.sample in samples and abs(s.row.middle - middle) < 2.5 * tall]
    top = min(row.top for row in rows) - 1.2 * tall
    bottom = max(row.bottom for row in rows) + 0.6 * tall
    scale = (zone.bottom - zone.top) / height
    return Band(max(zone.top, zone.top + top * scale), min(zone.bottom, zone.top + bottom * scale))
