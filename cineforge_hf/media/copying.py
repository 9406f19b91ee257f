"""Which of a film's coded pictures a clip can take over as they are.

Only whole groups of pictures that start with an IDR picture qualify: nothing before an IDR is referred to after it, nor shown
after it. The film must be H.264 as every player and decoder takes it: 8-bit 4:2:0, progressive, with its parameter sets in
the header alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import av.error

from cineforge_hf.errors import MediaError
from cineforge_hf.media import h264
from cineforge_hf.media.decode import JITTER_SECONDS, pick_stream
from cineforge_hf.media.encode import Coded, Segment
from cineforge_hf.media.source import MediaSource, Opened, open_media

COPY_BITS_PER_PIXEL = 0.05
"""Groups of more bits per pixel and picture are encoded anew: our own encoder needs 0.02 to 0.05 for films (CRF 22), and
copying a film mastered at several times that would make the corpus several times as large."""

COPY_SECONDS = 1.0
"""A shorter run is not worth the extra key picture behind it."""

_PROFILES = {"Constrained Baseline", "Main", "High"}
_PROGRESSIVE = 1  # AV_FIELD_PROGRESSIVE
_PLAIN_NALS = {1, h264.IDR_SLICE, h264.SEI, 9}  # slices, SEI, access unit delimiter


@dataclass(frozen=True)
class Copied:
    """A run of groups to copy.

    Attributes:
        segment: the coded pictures.
        begin: seconds on the source clock of the first picture.
        end: seconds of the first picture that is no longer in the run (the film's next IDR), or of the run's end.
    """

    segment: Segment
    begin: float
    end: float


@dataclass
class _Group:
    """One IDR picture and what follows it, in decoding order: (seconds, NAL units)."""

    pictures: list[tuple[float, list[bytes]]]
    end: float = 0.0

    def times(self) -> list[float]:
        return sorted(seconds for seconds, _ in self.pictures)


def copyable(path: MediaSource, start: float, end: float, ticks: Callable[[float], int]) -> Copied | None:
    """Find the longest run of groups inside [start, end) that may be copied.

    Args:
        path: the film, or its bytes.
        start: seconds on the source clock; the first group may begin before it if its second picture does not.
        end: seconds on the source clock.
        ticks: turns seconds on the source clock into the clip's ticks.

    Returns:
        The run, or None when there is none worth copying.
    """
    with open_media(path) as opened:
        track = pick_stream(opened, "video", None)
        context = track.codec_context
        if (context.name, context.pix_fmt, context.field_order) != (
            "h264",
            "yuv420p",
            _PROGRESSIVE,
        ) or track.profile not in _PROFILES:
            return None
        try:
            sps, pps = h264.read_avcc(context.extradata or b"")
            groups = _groups(opened, track, start, end, {*sps, *pps})
        except (ValueError, av.error.FFmpegError, MediaError):
            return None  # Whatever cannot be read packet by packet is decoded, and there errors are reported.
        slack = float(track.time_base) / 2 + JITTER_SECONDS
        budget = COPY_BITS_PER_PIXEL * context.width * context.height / 8
    run = _longest([group if _fits(group, start, end, slack, budget) else None for group in groups])
    if not run or run[-1].end - run[0].times()[0] < COPY_SECONDS:
        return None
    coded = [
        Coded(ticks(seconds), h264.join_lengths(nals), any(h264.nal_type(n) == h264.IDR_SLICE for n in nals))
        for group in run
        for seconds, nals in group.pictures
    ]
    return Copied(Segment(tuple(coded), tuple(sps), tuple(pps)), run[0].times()[0], run[-1].end)


def _groups(opened: Opened, track: Any, start: float, end: float, sets: set[bytes]) -> list[_Group]:
    """The film's complete groups from the one at `start` to the last that ends by `end`.

    Raises:
        ValueError: a packet without time stamps, or with NAL units that cannot be copied.
    """
    opened.seek(track, start)
    groups: list[_Group] = []
    last = 0.0
    for packet in opened.container.demux(track):
        if packet.size == 0:  # PyAV's flush packet: the film's end closes the last group.
            if groups:
                groups[-1].end = last
            return groups
        if packet.pts is None:
            raise ValueError("a packet without time stamps")
        seconds = opened.seconds(packet.pts, packet.time_base)
        # A film may repeat its parameter sets; the same bytes again say nothing new.
        nals = [nal for nal in h264.split_lengths(bytes(packet)) if nal not in sets]
        if any(h264.nal_type(nal) not in _PLAIN_NALS for nal in nals):
            raise ValueError("a packet with more than slices")
        if any(h264.nal_type(nal) == h264.IDR_SLICE for nal in nals):
            if groups:
                groups[-1].end = seconds
            groups.append(_Group([]))
        # Matroska lacks the first decoding times; a film does not end there.
        if packet.dts is not None and opened.seconds(packet.dts, packet.time_base) >= end:
            return groups[:-1]
        if groups:
            groups[-1].pictures.append((seconds, nals))
        last = max(last, seconds + float((packet.duration or 0) * packet.time_base))
    return groups


def _fits(group: _Group, start: float, end: float, slack: float, budget: float) -> bool:
    """Whether a complete group lies in the range, in order, and within `budget` bytes per picture."""
    times = group.times()
    if len(times) < 2 or len(set(times)) < len(times) or group.pictures[0][0] != times[0]:
        return False
    inside = times[1] > start + slack and group.end <= end + slack and times[-1] < group.end
    return inside and sum(len(nal) + 4 for _, nals in group.pictures for nal in nals) <= budget * len(times)


def _longest(groups: list[_Group | None]) -> list[_Group]:
    """The longest unbroken run."""
    runs: list[list[_Group]] = [[]]
    for group in groups:
        if group is None:
            runs.append([])
        else:
            runs[-1].append(group)
    return max(runs, key=lambda run: sum(len(group.pictures) for group in run))
