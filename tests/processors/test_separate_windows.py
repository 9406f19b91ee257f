"""Windows: nothing lost, nothing changed, nothing large."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cineforge_hf.media.mixing import Sound
from cineforge_hf.processors.engines.separate.windows import Reader, in_windows


def cut(sound: Sound, sizes: list[int]) -> Iterator[Sound]:
    at = 0
    while at < sound.shape[1]:
        for size in sizes:
            yield sound[:, at : at + size]
            at += size


@given(
    count=st.integers(0, 700),
    sizes=st.lists(st.integers(1, 90), min_size=1, max_size=4),
    length=st.integers(2, 120),
    share=st.floats(0, 0.5),
)
def test_identity_gives_the_mix_back_to_the_bit(count: int, sizes: list[int], length: int, share: float) -> None:
    sound = np.random.default_rng(count).standard_normal((2, count)).astype(np.float32)
    seen: list[int] = []

    def same(window: Sound) -> Sound:
        seen.append(window.shape[1])
        return window.copy()

    overlap = int(length * share)
    found = [np.zeros((2, 0), np.float32), *in_windows(cut(sound, sizes), same, length, overlap)]
    np.testing.assert_array_equal(np.concatenate(found, axis=1), sound)
    assert all(length <= n < 2 * length - overlap for n in seen) or seen == [count] or not count


def test_seams_are_cross_faded() -> None:
    turn = iter(range(100))
    found = list(in_windows(cut(np.ones((1, 1000), np.float32), [7]), lambda w: w * next(turn), 100, 20))
    joined = np.concatenate(found, axis=1)[0]
    # Window n gives n: across a seam the sound climbs by 1 in 20 steps of 1/21.
    assert np.abs(np.diff(joined)).max() == pytest.approx(1 / 21, abs=1e-5)


def test_two_hours_in_small_pieces() -> None:
    rate, seconds, largest = 100, 7200, 0
    held = 0

    def mix() -> Iterator[Sound]:
        nonlocal held
        for _ in range(seconds):
            held += rate
            yield np.ones((2, rate), np.float32)

    def window(sound: Sound) -> Sound:
        nonlocal largest
        largest = max(largest, sound.shape[1])
        return sound

    given_out = ahead = 0
    for block in in_windows(mix(), window, 60 * rate, 4 * rate):
        given_out += block.shape[1]
        ahead = max(ahead, held - given_out)
    assert given_out == seconds * rate
    assert largest < 120 * rate
    assert ahead <= 60 * rate + rate  # What is read and not yet given out never exceeds two windows.


def test_refuses_what_cannot_work() -> None:
    with pytest.raises(ValueError, match="overlap"):
        list(in_windows(iter(()), lambda w: w, 10, 6))
    with pytest.raises(ValueError, match="made"):
        list(in_windows(iter([np.zeros((1, 5), np.float32)]), lambda w: w[:, 1:], 10, 2))


def test_reader_fills_up_the_end() -> None:
    reader = Reader(iter([np.ones((1, 5), np.float32), np.ones((1, 5), np.float32)]), 1)
    assert [float(reader.take(n).sum()) for n in (3, 4, 8, 2)] == [3, 4, 3, 0]
