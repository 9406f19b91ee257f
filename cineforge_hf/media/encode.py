"""Coded pictures and sounds, and the MP4 that holds them.

Determinism: one encoder thread, no dates, no version strings, time stamps derived from the clip alone. The same pictures
give the same bytes, so that exported datasets do not depend on when, where in the queue, or by how many workers they were cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange, VideoReformatter

from cineforge_hf.media import h264
from cineforge_hf.media.frames import Picture
from cineforge_hf.media.mixing import Sound
from cineforge_hf.media.source import THREADS

PRESET, CRF, TUNING = "superfast", 22, "mbtree=1:rc-lookahead=10"
"""x264's `superfast` with macroblock-tree rate control put back: 5 times as fast as `medium` at CRF 23, for a file of the
same size and an SSIM above 0.98 to a 720p film; plain `superfast` needs twice the bytes for that (benchmarks/ingest.py)."""

FULL_RANGE = "yuvj"
"""How FFmpeg's names of full-range pixel formats begin."""

AAC_BIT_RATE = 128_000
AAC_FRAME = 1024

_BITEXACT = 1 << 23  # AV_CODEC_FLAG_BITEXACT: no encoder version in the stream
_GLOBAL_HEADER = 1 << 22  # AV_CODEC_FLAG_GLOBAL_HEADER: parameter sets apart from the pictures
CONTAINER_OPTIONS = {
    "fflags": "+bitexact",
    "movflags": "+faststart",
    # Edit lists in milliseconds, the default, could trim the last frame.
    "movie_timescale": "90000",
}
"""Options of every MP4 we write."""


@dataclass(frozen=True)
class Coded:
    """One coded picture: `ticks` of presentation time from the clip's start, NAL units with lengths, and whether it is an IDR."""

    ticks: int
    data: bytes
    key: bool


@dataclass(frozen=True)
class Segment:
    """Coded pictures in decoding order, with the parameter sets they refer to."""

    pictures: tuple[Coded, ...]
    sps: tuple[bytes, ...]
    pps: tuple[bytes, ...]


@dataclass(frozen=True)
class Format:
    """What all pictures of a clip share.

    Attributes:
        width: stored pixels.
        height: stored pixels.
        aspect: pixel aspect.
        unit: seconds per tick.
        rate: nominal frames per second, for rate control.
        colours: (range, primaries, transfer, matrix), FFmpeg's numbers.
    """

    width: int
    height: int
    aspect: Fraction
    unit: Fraction
    rate: Fraction
    colours: tuple[int, int, int, int]

    def apply(self, context: Any) -> None:
        """Set an H.264 codec context up for these pictures."""
        context.width, context.height, context.pix_fmt = self.width, self.height, "yuv420p"
        context.sample_aspect_ratio, context.time_base, context.framerate = self.aspect, self.unit, self.rate
        context.color_range, context.color_primaries, context.color_trc, context.colorspace = self.colours
        context.thread_count = THREADS


def encode_pictures(shown: Iterable[tuple[int, Picture]], form: Format, set_id: int) -> Segment:
    """Encode pictures as H.264, 8-bit 4:2:0, turned upright.

    Args:
        shown: (ticks from the clip's start, picture), in order.
        form: the clip's format.
        set_id: id for the parameter sets (0 to 31).

    Returns:
        The segment; empty when there are no pictures.
    """
    context = av.CodecContext.create("libx264", "w")
    form.apply(context)
    # Frames are numbered instead of timed: the stream then names the nominal rate, from which FFmpeg before 6 derives the
    # durations that torchcodec searches by. The real times are those of the container.
    context.time_base = 1 / form.rate
    context.flags |= _BITEXACT | _GLOBAL_HEADER
    context.options = {"preset": PRESET, "crf": str(CRF), "x264-params": f"{TUNING}{_instructions()}:sps-id={set_id}"}
    upright = Upright(form)
    times: list[int] = []
    packets = []
    for ticks, picture in shown:
        frame = upright(picture)
        frame.pts, frame.time_base = len(times), context.time_base
        frame.pict_type = 0  # The source's choice of I, P and B must not bind ours.
        times.append(ticks)
        packets += context.encode(frame)
    if not times:
        return Segment((), (), ())
    packets += context.encode(None)
    header = h264.split_annex_b(context.extradata or b"")
    coded = tuple(Coded(times[p.pts], h264.join_lengths(_slices(bytes(p))), p.is_keyframe) for p in packets)
    sets = {kind: tuple(nal for nal in header if h264.nal_type(nal) == kind) for kind in (h264.SPS, h264.PPS)}
    return Segment(coded, sets[h264.SPS], sets[h264.PPS])


def _slices(packet: bytes) -> list[bytes]:
    """NAL units of x264's packet without its note of version and settings, the only SEI that it writes with ours."""
    return [nal for nal in h264.split_annex_b(packet) if h264.nal_type(nal) != h264.SEI]


@cache
def _instructions() -> str:
    """x264's instruction set, held to AVX2 on processors with AVX-512.

    x264's AVX-512 code for macroblock-tree rate control (seen in core 165) reads memory it never wrote wherever the width is
    not a multiple of 256, so that the same film gave other bytes from one encoder to the next. AVX2 costs no measurable time.
    """
    cpu = Path("/proc/cpuinfo")
    return ":asm=AVX2" if cpu.exists() and "avx512" in cpu.read_text(encoding="utf-8", errors="replace") else ""


class Upright:
    """Brings pictures to yuv420p in the clip's size, turned as players show them."""

    def __init__(self, form: Format) -> None:
        self._form = form
        self._scaler = VideoReformatter()

    def __call__(self, picture: Picture) -> Any:
        """Return PyAV's frame; the decoded one itself where nothing is to be done."""
        frame, turns = picture.frame, picture.rotation // 90 % 4
        width, height = (self._form.height, self._form.width) if turns % 2 else (self._form.width, self._form.height)
        if (frame.width, frame.height, frame.format.name) != (width, height, "yuv420p"):
            frame = self._scaler.reformat(
                frame,
                width=width,
                height=height,
                format="yuv420p",
                interpolation="BICUBIC",
                # The old names of full-range formats (yuvj...) promise what yuv420p does not.
                dst_color_range=ColorRange.MPEG if frame.format.name.startswith(FULL_RANGE) else None,
                threads=THREADS,
            )
        if not turns:
            return frame
        # Plane by plane, so that no second colour conversion is needed.
        flat = frame.to_ndarray()
        luma, chroma = flat[:height], flat[height:].reshape(2, height // 2, width // 2)
        planes = [np.rot90(luma, turns), *(np.rot90(plane, turns) for plane in chroma)]
        turned = np.concatenate([plane.reshape(-1) for plane in planes]).reshape(self._form.height * 3 // 2, self._form.width)
        return av.VideoFrame.from_ndarray(np.ascontiguousarray(turned), format="yuv420p")


def write_mp4(
    destination: Path, segments: Sequence[Segment], form: Format | None, end: int, sound: Sound | None, rate: int
) -> None:
    """Write one MP4 with H.264 and AAC, both starting at zero.

    Args:
        destination: path to write to (see `atomic_path`).
        segments: coded pictures, each segment starting with an IDR, in order; together at least one picture if `form` is set.
        form: the pictures' format; None for sound alone.
        end: ticks at which the last picture ends.
        sound: float32 (channels, n); None for pictures alone.
        rate: Hz.
    """
    with av.open(str(destination), "w", format="mp4", container_options=CONTAINER_OPTIONS) as container:
        lanes = []
        if form is not None:
            video = container.add_stream("libx264", rate=form.rate, options={"preset": "ultrafast"})
            form.apply(video.codec_context)
            # PyAV has no muxing of foreign H.264 with a given header, so an encoder is opened to carry the parameters alone.
            video.codec_context.open()
            sps = dict.fromkeys(nal for segment in segments for nal in segment.sps)
            pps = dict.fromkeys(nal for segment in segments for nal in segment.pps)
            video.codec_context.extradata = h264.write_avcc(list(sps), list(pps))
            video.time_base = form.unit
            lanes.append(_video_packets(video, [p for s in segments for p in s.pictures], form, end))
        if sound is not None:
            lanes.append(sound_packets(add_aac(container, rate, len(sound), AAC_BIT_RATE), sound))
        container.start_encoding()
        for packet in interleave(lanes):
            container.mux(packet)


def decoding_times(shown: Sequence[int], end: int) -> list[int]:
    """Decoding times for pictures in decoding order: their sorted presentation times, moved back until none comes too late.

    MP4 takes a track's length from its decoding times, so the first of them lies where the sum comes out right.

    Args:
        shown: presentation times in ticks, all different, in decoding order.
        end: ticks at which the last picture ends.

    Returns:
        As many strictly rising times, none after its picture's presentation.
    """
    order = sorted(shown)
    rank = {ticks: number for number, ticks in enumerate(order)}
    delay = max((number - rank[ticks] for number, ticks in enumerate(shown)), default=0)
    if not delay:
        return order
    follows = dict(zip(order, [*order[1:], end], strict=True))
    # Length = last decoding time + how long that picture shows - first decoding time; it has to be end - order[0].
    lead = max(delay, end - order[-1 - delay] - (follows[shown[-1]] - shown[-1]))
    return [order[0] - lead + lead * number // delay for number in range(delay)] + order[: len(order) - delay]


def _video_packets(stream: Any, pictures: Sequence[Coded], form: Format, end: int) -> Iterator[Any]:
    """Packets with decoding times and durations."""
    order = sorted(p.ticks for p in pictures)
    times = decoding_times([p.ticks for p in pictures], end)
    follows = dict(zip(order, [*order[1:], end], strict=True))
    for number, picture in enumerate(pictures):
        packet = av.Packet(picture.data)
        packet.stream, packet.time_base = stream, form.unit
        packet.pts, packet.dts, packet.duration = picture.ticks, times[number], max(1, follows[picture.ticks] - picture.ticks)
        packet.is_keyframe = picture.key
        yield packet


def add_aac(container: Any, rate: int, channels: int, bit_rate: int) -> Any:
    """Add an AAC stream of one or two channels to a container open for writing."""
    stream = container.add_stream("aac", rate=rate)
    stream.codec_context.layout = "mono" if channels == 1 else "stereo"
    stream.codec_context.bit_rate = bit_rate
    stream.codec_context.flags |= _BITEXACT
    return stream


def sound_packets(stream: Any, sound: Sound) -> Iterator[Any]:
    """Encode sound whose first sample is at time zero; the encoder's delay comes before it and goes into the edit list."""
    context = stream.codec_context
    layout = "mono" if len(sound) == 1 else "stereo"
    for at in range(0, sound.shape[1], AAC_FRAME):
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(sound[:, at : at + AAC_FRAME], np.float32), format="fltp", layout=layout
        )
        frame.sample_rate, frame.pts, frame.time_base = context.sample_rate, at, Fraction(1, context.sample_rate)
        yield from stream.encode(frame)
    yield from stream.encode(None)


def interleave(lanes: Sequence[Iterator[Any]]) -> Iterator[Any]:
    """Merge streams of packets by decoding time, so that players need not seek between picture and sound."""
    heads = [next(lane, None) for lane in lanes]
    while any(head is not None for head in heads):
        waiting = [(head.dts * head.time_base, number) for number, head in enumerate(heads) if head is not None]
        number = min(waiting)[1]
        yield heads[number]
        heads[number] = next(lanes[number], None)
