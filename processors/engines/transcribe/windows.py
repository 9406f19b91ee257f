"""Which parts of a film a recogniser hears, and how what it heard in neighbouring parts is joined.

Windows are cut in pauses. Where somebody speaks for longer than a window without one, two windows overlap, both hear the seam,
and their words are joined on a word that both heard. So no word is lost at a seam or there twice, and no recogniser is asked for
more than it was trained on.

Invariants: pure; windows are in order and lie in the film; every moment of speech is in one; memory is one window's sound.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cineforge_hf.media import iter_sound, read_sound
from cineforge_hf.processor import Row
from cineforge_hf.processors.engines.transcribe.base import Cue
from cineforge_hf.processors.engines.vad.silero import RATE, Floats, SileroVAD, Span, speech_spans

LONGEST = 28.0
"""Seconds per window: Whisper hears 30, and reads its last words badly when they touch the end."""
LONGEST_PAUSE = 4.0
"""Seconds of silence that a window may span; recognisers invent words for longer ones."""
AROUND = 0.3
"""Seconds heard before and after speech: soft first and last sounds are below the voice detector's threshold."""
OVERLAP = 2.0
"""Seconds that both windows hear at a seam inside speech: a few words."""
SAME_WORD = 0.5
"""Seconds by which two windows may put the same word apart."""


@dataclass(frozen=True)
class Window:
    """A part of the film that a recogniser hears at once.

    Args:
        start: seconds on the source's clock.
        end: seconds on the source's clock.
        overlaps: whether it begins inside speech, before the end of the window before it.
    """

    start: float
    end: float
    overlaps: bool = False


def speech_windows(speech: Sequence[Span], begin: float, end: float) -> list[Window]:
    """Pack speech into windows.

    Args:
        speech: voice activity in seconds, sorted, without overlap.
        begin: where the usable part of the film begins, seconds.
        end: where it ends.
    """
    windows: list[Window] = []
    held: list[float] | None = None
    for start, stop in ((max(s, begin), min(e, end)) for s, e in speech if e > begin and s < end):
        if held is not None and stop - held[0] <= LONGEST - 2 * AROUND and start - held[1] <= LONGEST_PAUSE:
            held[1] = stop
            continue
        if held is not None:
            windows += _split(held[0], held[1])
        held = [start, stop]
    if held is not None:
        windows += _split(held[0], held[1])
    padded = []
    for i, window in enumerate(windows):
        before = windows[i - 1].end if i else begin
        after = windows[i + 1].start if i + 1 < len(windows) else end
        first = (
            window.start if window.overlaps else max(window.start - AROUND, min(window.start, (before + window.start) / 2), begin)
        )
        last = window.end if after <= window.end else min(window.end + AROUND, (window.end + after) / 2, end)
        padded.append(
            Window(first, last if after < end or i + 1 < len(windows) else min(window.end + AROUND, end), window.overlaps)
        )
    return padded


def _split(start: float, stop: float) -> list[Window]:
    """One window, or equal overlapping ones where nobody pauses."""
    longest = LONGEST - 2 * AROUND
    if stop - start <= longest:
        return [Window(start, stop)]
    count = int(-(-(stop - start - OVERLAP) // (longest - OVERLAP)))
    step = (stop - start - OVERLAP) / count
    return [Window(start + i * step, start + i * step + step + OVERLAP, overlaps=i > 0) for i in range(count)]


def stitch(before: Sequence[Cue], after: Sequence[Cue], seam: tuple[float, float]) -> list[Cue]:
    """Join the words of two windows that overlap.

    Args:
        before: words of the first window, in order.
        after: words of the second.
        seam: the seconds that both heard.

    Returns:
        All words, each once: the first window's up to a word that both heard, nearest to the middle of the seam, and the
        second's after it; where they share none, each has its half of the seam.
    """
    middle = (seam[0] + seam[1]) / 2
    shared = [
        (abs(_middle(one) - middle), i, j)
        for i, one in enumerate(before)
        for j, other in enumerate(after)
        if one.text.casefold() == other.text.casefold()
        and abs(_middle(one) - _middle(other)) <= SAME_WORD
        and seam[0] - SAME_WORD <= _middle(one) <= seam[1] + SAME_WORD
    ]
    if shared:
        _, i, j = min(shared)
        kept = [*before[: i + 1], *after[j + 1 :]]
    else:
        kept = [*(w for w in before if _middle(w) < middle), *(w for w in after if _middle(w) >= middle)]
    return _in_order(kept)


def _middle(word: Cue) -> float:
    return (word.start + word.end) / 2


def _in_order(words: list[Cue]) -> list[Cue]:
    """Times that two windows gave are made to run forwards."""
    ordered: list[Cue] = []
    for word in words:
        start = max(word.start, ordered[-1].end) if ordered else word.start
        ordered.append(Cue(start, max(word.end, start), word.text, word.engine))
    return ordered


def join_windows(windows: Sequence[Window], heard: Sequence[Sequence[Cue]]) -> list[Cue]:
    """All words of a film from those of its windows, on the source's clock, each once and in order."""
    words: list[Cue] = []
    for i, window in enumerate(windows):
        if i and window.overlaps:
            # Only the words of the window before can be in the seam.
            first = next((k for k, word in enumerate(words) if word.end > windows[i - 1].start), len(words))
            words[first:] = stitch(words[first:], heard[i], (window.start, windows[i - 1].end))
        else:
            words += [word for word in heard[i] if not words or _middle(word) >= words[-1].end]
    return _in_order(words)


def voice_of(row: Row) -> Floats:
    """The probability of speech of a film, from its row or found on the spot."""
    voice = row.get("voice")
    if voice is not None:
        found: Floats = voice()
        return found
    import numpy as np

    blocks = iter_sound(row["source"], stream=row["audio_stream"], rate=RATE, mono=True, end=row["film_duration"])
    return np.concatenate([np.zeros(0, np.float32), *SileroVAD().probabilities(blocks)])


def windows_of(row: Row) -> list[Window]:
    """The windows of a film's usable part."""
    return speech_windows(speech_spans(voice_of(row)), row["trim_start"], row["trim_end"])


def window_sounds(row: Row, windows: Sequence[Window]) -> Iterator[Floats]:
    """The sound of each window at 16 kHz, mono, float32 (n,); one at a time."""
    for window in windows:
        yield read_sound(row["source"], window.start, window.end, stream=row["audio_stream"], rate=RATE, mono=True)[0]
