"""A long sound through a model that takes short ones: overlapping windows, cross-faded, in constant memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from cineforge_hf.media.mixing import Sound


def in_windows(mix: Iterator[Sound], separate: Callable[[Sound], Sound], length: int, overlap: int) -> Iterator[Sound]:
    """Run a function over overlapping windows of a sound and join what it returns with linear cross-fades.

    No window but an only one is shorter than `length`, since models do badly without context: the last takes in what is
    left, and is under `2 * length - overlap` samples. A function that returns its window gives the sound back to the bit.

    Args:
        mix: blocks of shape (channels, n), any sizes.
        separate: a window to as many samples.
        length: samples per window.
        overlap: samples that neighbouring windows share, at most half of `length`.

    Yields:
        Blocks of shape (channels, n), in all as many samples as the mix.

    Raises:
        ValueError: the overlap is too long, or `separate` changed a window's shape.
    """
    if not 0 <= 2 * overlap <= length:
        raise ValueError(f"an overlap of {overlap} samples does not fit windows of {length}")
    hop = length - overlap
    rise = np.linspace(0.0, 1.0, overlap + 2, dtype=np.float32)[1:-1]
    tail: Sound | None = None

    def joined(window: Sound) -> Sound:
        found = separate(window)
        if found.shape != window.shape:
            raise ValueError(f"an engine made {found.shape} of a window of {window.shape}")
        if tail is None:
            return found
        head = found[:, :overlap]
        # tail + rise * (head - tail) rather than two products: equal inputs come out unchanged.
        return np.concatenate([tail + rise * (head - tail), found[:, overlap:]], axis=1)

    held: list[Sound] = []
    have = 0
    for block in mix:
        held.append(block)
        have += block.shape[1]
        # One hop ahead, so that the last window is never a short one.
        while have >= length + hop:
            sound = np.concatenate(held, axis=1)
            done = joined(sound[:, :length])
            yield done[:, :hop]
            tail = done[:, hop:]
            held, have = [sound[:, hop:]], have - hop
    if have:
        yield joined(np.concatenate(held, axis=1))


class Reader:
    """Takes blocks of any sizes and gives them out in the sizes asked for."""

    def __init__(self, blocks: Iterator[Sound], channels: int) -> None:
        """Args: the blocks, and their number of channels."""
        self._blocks = blocks
        self._rest: Sound = np.zeros((channels, 0), np.float32)

    def take(self, count: int) -> Sound:
        """The next `count` samples, filled up with silence after the end: resamplers may lose a few there."""
        parts, have = [self._rest], self._rest.shape[1]
        while have < count:
            block = next(self._blocks, None)
            if block is None:
                block = np.zeros((self._rest.shape[0], count - have), np.float32)
            parts.append(block)
            have += block.shape[1]
        sound = np.concatenate(parts, axis=1)
        self._rest = sound[:, count:]
        return sound[:, :count]
