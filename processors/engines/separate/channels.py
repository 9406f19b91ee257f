"""Which channels of a film's sound hold the dialogue.

Cinema mixes put it on the centre channel, alone: its music and effects are mostly elsewhere, so separating the centre by
itself leaves the engine less to do, and the other channels untouched. Not every 5.1 is such a mix: some have nothing on
the centre, and some are stereo spread over six channels. Both are told by their sound, since nothing else tells.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from cineforge_hf.media.mixing import Sound

RATE = 16000
"""Hz at which the channels are compared."""
SPEECH_BAND = (300.0, 3400.0)
"""Hz; telephone speech. Rumble and cymbals say nothing about dialogue."""
LOUD = 90
"""Percentile of the seconds' levels that stands for a channel's loud moments: a film of few words has few of them."""
AUDIBLE_DB = -12.0
"""A centre whose loud moments are this far under the front pair's holds no dialogue."""
COHERENT = 0.7
"""Correlation of centre and front pair from which the centre is a copy of them (a spread stereo has 0.9 to 1)."""

Group = tuple[int, ...]


def named(count: int, names: Sequence[str]) -> tuple[str, ...]:
    """Names for all channels of a stream.

    Args:
        count: number of channels.
        names: FFmpeg's names, as `media.channel_names` gives them; there are none where a file does not say.

    Returns:
        The names where they are known; the first three of unnamed six and eight channels are FL, FR, FC, the order of WAV,
        FLAC and all cinema formats; numbers otherwise.
    """
    if len(names) == count and "NONE" not in names:
        return tuple(names)
    known = ("FL", "FR", "FC") if count in (6, 8) else ()
    return (*known, *(str(c) for c in range(len(known), count)))


def dialogue_groups(names: Sequence[str], blocks: Iterator[Sound]) -> list[Group]:
    """Channels to separate, in groups that an engine takes together; the others hold no dialogue.

    Args:
        names: of all channels, see `named`.
        blocks: the sound at `RATE`, in blocks of about a second; read only where the centre has to be judged.

    Returns:
        Groups of one or two channel numbers: all of mono and stereo; of more channels the centre, or the front pair, or
        both where the centre is a copy of the pair.
    """
    if len(names) <= 2:
        return [tuple(range(len(names)))]
    if not {"FL", "FR", "FC"} <= set(names):
        return [(0, 1)]
    pair, centre = (names.index("FL"), names.index("FR")), names.index("FC")
    middles, centres, product = [], [], 0.0
    for block in blocks:
        spectrum = np.fft.rfft(block[[*pair, centre]])
        hertz = np.fft.rfftfreq(block.shape[1], 1 / RATE)
        band = spectrum[:, (hertz >= SPEECH_BAND[0]) & (hertz < SPEECH_BAND[1])]
        middle = (band[0] + band[1]) / 2
        middles.append(float(np.vdot(middle, middle).real))
        centres.append(float(np.vdot(band[2], band[2]).real))
        product += float(np.vdot(middle, band[2]).real)
    loud_middle, loud_centre = (float(np.percentile(e, LOUD)) if e else 0.0 for e in (middles, centres))
    if loud_centre <= loud_middle * 10 ** (AUDIBLE_DB / 10):
        return [pair]
    likeness = abs(product) / np.sqrt(max(sum(middles) * sum(centres), 1e-30))
    return [pair, (centre,)] if likeness >= COHERENT else [(centre,)]
