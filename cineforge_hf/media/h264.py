"""Just enough of H.264's byte format to join streams: NAL units, parameter sets and MP4's `avcC` record.

ITU-T H.264 (08/2021) annex B (start codes), 7.4.1 (NAL unit types), 7.3.2.1 and 7.3.2.2 (parameter sets); ISO/IEC 14496-15
section 5.3.3 (`avcC`). NAL units are handled without start code or length, with their emulation prevention bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

IDR_SLICE = 5
SPS = 7
PPS = 8

# 7.3.2.1: profiles whose avcC record carries the chroma format and bit depths.
_HIGH_PROFILES = {100, 110, 122, 144}


def nal_type(nal: bytes) -> int:
    """Type of a NAL unit."""
    return nal[0] & 31


def split_annex_b(data: bytes) -> list[bytes]:
    """Split a byte stream with start codes into NAL units. Emulation prevention keeps start codes out of their insides."""
    # Zero bytes before a start code belong to it (trailing_zero_8bits); a NAL unit never ends in a zero byte.
    return [part.rstrip(b"\0") for part in re.split(rb"\x00\x00\x01", data)[1:]]


def split_lengths(data: bytes) -> list[bytes]:
    """Split a packet with four-byte lengths, as in MP4 and Matroska, into NAL units.

    Raises:
        ValueError: the lengths do not add up.
    """
    nals, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4])
        at += 4 + size
        if size == 0 or at > len(data):
            raise ValueError("the lengths of the NAL units do not add up")
        nals.append(data[at - size : at])
    return nals


def join_lengths(nals: Iterable[bytes]) -> bytes:
    """Write NAL units with four-byte lengths."""
    return b"".join(len(nal).to_bytes(4) + nal for nal in nals)


def read_avcc(record: bytes) -> tuple[list[bytes], list[bytes]]:
    """Read the parameter sets of an `avcC` record.

    Returns:
        (sequence parameter sets, picture parameter sets).

    Raises:
        ValueError: not a record with four-byte lengths.
    """
    if len(record) < 7 or record[0] != 1 or record[4] & 3 != 3:
        raise ValueError("no avcC record with four-byte lengths")
    at, sets = 5, []
    for mask in (31, 255):
        count, found = record[at] & mask, []
        at += 1
        for _ in range(count):
            size = int.from_bytes(record[at : at + 2])
            found.append(record[at + 2 : at + 2 + size])
            at += 2 + size
        sets.append(found)
    return sets[0], sets[1]


def write_avcc(sps: list[bytes], pps: list[bytes]) -> bytes:
    """Write an `avcC` record for 8-bit 4:2:0 streams with four-byte lengths; the first set names profile and level."""
    profile, constraints, level = sps[0][1], sps[0][2], max(s[3] for s in sps)
    record = bytes([1, profile, constraints, level, 0xFF, 0xE0 | len(sps)])
    record += b"".join(len(s).to_bytes(2) + s for s in sps)
    record += bytes([len(pps)]) + b"".join(len(p).to_bytes(2) + p for p in pps)
    return record + (bytes([0xFD, 0xF8, 0xF8, 0]) if profile in _HIGH_PROFILES else b"")


def set_ids(sps: Iterable[bytes], pps: Iterable[bytes]) -> set[int]:
    """All ids that parameter sets of either kind use (7.4.2.1.1, 7.4.2.2)."""
    # The id follows profile, constraints and level in an SPS and comes first in a PPS.
    return {_exp_golomb(s[4:]) for s in sps} | {_exp_golomb(p[1:]) for p in pps}


def _exp_golomb(data: bytes) -> int:
    """The first ue(v) of a bit string (9.1); ids fit in the first bytes, where no emulation prevention can be."""
    bits = "".join(f"{byte:08b}" for byte in data[:4])
    zeros = len(bits) - len(bits.lstrip("0"))
    return int(bits[zeros : 2 * zeros + 1], 2) - 1
