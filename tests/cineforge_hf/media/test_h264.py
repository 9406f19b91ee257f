"""NAL units, parameter sets and decoding times."""

from itertools import pairwise

import hypothesis.strategies as st
import pytest
from hypothesis import given

from cineforge_hf.media import h264
from cineforge_hf.media.encode import decoding_times

# Any bytes without a start code inside, and not ending in zero: what emulation prevention guarantees.
NALS = st.lists(
    st.binary(min_size=5, max_size=40).map(lambda b: b.replace(b"\0", b"\1")),
    min_size=1,
    max_size=6,
)


@given(NALS, st.lists(st.booleans(), min_size=6, max_size=6))
def test_both_formats_hold_the_same_units(nals, long):
    stream = b"".join((b"\0\0\0\1" if wide else b"\0\0\1") + nal for nal, wide in zip(nals, long, strict=False))
    assert h264.split_annex_b(stream) == nals
    assert h264.split_lengths(h264.join_lengths(nals)) == nals


@given(NALS, NALS)
def test_avcc_keeps_its_parameter_sets(sps, pps):
    assert h264.read_avcc(h264.write_avcc(sps, pps)) == (sps, pps)


def test_damaged_records_are_refused():
    for record in (b"", b"\0\0\0\1\x67", b"\1\x64\0\x1f\xfe\xe1\0\0"):
        with pytest.raises(ValueError, match="avcC"):
            h264.read_avcc(record)
    with pytest.raises(ValueError, match="add up"):
        h264.split_lengths(b"\0\0\0\x09ab")


def test_ids_are_read_from_the_sets():
    # ue(v): 1 -> 0, 010 -> 1, 011 -> 2, 00100 -> 3
    for bits, number in ((0b10000000, 0), (0b01000000, 1), (0b01100000, 2), (0b00100000, 3)):
        assert h264.set_ids([bytes([0x67, 100, 0, 31, bits, 0xAC])], []) == {number}
        assert h264.set_ids([], [bytes([0x68, bits, 0x80])]) == {number}


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.data())
def test_decoding_times_rise_and_are_never_late(sizes, data):
    shown, at = [], 0
    for size in sizes:  # little groups as with B-frames: the last shown comes first
        group = [at := at + data.draw(st.integers(1, 50)) for _ in range(size + 1)]
        shown += [group[-1], *group[:-1]]
    end = at + data.draw(st.integers(1, 50))
    times = decoding_times(shown, end)
    assert len(times) == len(shown)
    assert all(a < b for a, b in pairwise(times))
    assert all(decoded <= presented for decoded, presented in zip(times, shown, strict=True))
