"""Text subtitles inside a film.

Invariants: every text codec comes out as SubStation Alpha text, FFmpeg's common form, on the source clock; nothing is cleaned
here. Pictures of text give no cues.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from cineforge_hf.errors import MediaError
from cineforge_hf.media.source import MediaSource, media_errors, open_media

# Fields before the text in a decoded event: read order, layer, style, name, three margins, effect.
_ASS_FIELDS = 8
# A subtitle without a duration is on the screen until the next, but not longer than this (seconds).
LONGEST_CUE = 10.0


@dataclass(frozen=True)
class SubtitleCue:
    r"""One subtitle of a stream.

    Attributes:
        start: seconds on the source clock.
        end: seconds on the source clock.
        text: SubStation Alpha text: override tags in braces, lines separated by `\N`.
    """

    start: float
    end: float
    text: str


def read_subtitles(path: MediaSource, stream_index: int) -> list[SubtitleCue]:
    """Read all cues of one text subtitle stream.

    Args:
        path: the film, or its bytes.
        stream_index: the stream's number in the container.

    Returns:
        Its cues in the order of their packets.

    Raises:
        MediaError: `no_subtitle_stream`, `undecodable`, or what opening a film raises.
    """
    with open_media(path) as opened:
        stream = next((s for s in opened.container.streams.subtitles if s.index == stream_index), None)
        if stream is None:
            raise MediaError("no_subtitle_stream", f"{opened.name} has no subtitle stream {stream_index}; probe it again")
        cues: list[SubtitleCue] = []
        with media_errors(opened.name, f"read subtitle stream {stream_index}"):
            for packet in opened.container.demux(stream):
                if packet.pts is None or not packet.size:
                    continue
                start = opened.seconds(packet.pts, packet.time_base)
                length = float(packet.duration * packet.time_base) if packet.duration else 0.0
                cues += [SubtitleCue(start, start + length, text) for text in _texts(packet)]
    return _with_ends(cues)


def _texts(packet: Any) -> list[str]:
    texts = []
    for rect in packet.decode():
        event = getattr(rect, "ass", b"")
        event = event.decode("utf-8", errors="replace") if isinstance(event, bytes) else event
        fields = event.split(",", _ASS_FIELDS)
        if len(fields) > _ASS_FIELDS:
            texts.append(fields[_ASS_FIELDS])
    return texts


def _with_ends(cues: list[SubtitleCue]) -> list[SubtitleCue]:
    ended: list[SubtitleCue] = []
    following = math.inf
    for cue in reversed(cues):
        end = cue.end if cue.end > cue.start else min(following, cue.start + LONGEST_CUE)
        ended.append(SubtitleCue(cue.start, end, cue.text))
        following = cue.start if cue.start < following else following
    return ended[::-1]
