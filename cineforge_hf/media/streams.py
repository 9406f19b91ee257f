"""What a media file holds, without decoding it.

`probe` reads headers, the time stamps of the first packets and a handful of frames (for rotation and interlacing, which
some containers only tell with the picture), so a film of two hours costs well under a second. It refuses what cannot be a
film (`MediaError` with a code that reports can count), but a film without sound or without picture is a fact, not an error.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import av.error
import av.stream
import numpy as np

from cineforge_hf.errors import MediaError
from cineforge_hf.media.source import THREADS, MediaSource, Opened, open_media

VFR_PACKETS = 2000
"""Video packets whose time stamps decide whether the rate is variable: 80 s at 25 fps, a few megabytes to read."""

VFR_SHARE = 0.01
"""Share of irregular frame intervals above which a film has a variable rate; a lone dropped frame stays below it."""

TAIL_SECONDS = 2.0
"""A file whose packets stop this long before its promised end was cut short."""

_LOSSLESS = {"flac", "alac", "truehd", "mlp", "wavpack", "tta", "ape", "als", "shorten"}
_TEXT_SUBTITLES = {
    "subrip",
    "srt",
    "ass",
    "ssa",
    "mov_text",
    "webvtt",
    "text",
    "microdvd",
    "subviewer",
    "eia_608",
    "ttml",
    "sami",
}
_NOT_FILMS = {"tty", "srt", "ass", "webvtt", "lrc", "subviewer", "microdvd", "sami", "ffmetadata", "image2", "bin"}
_COMMENTARY = re.compile(r"comment|described|description|解说音轨|解說音軌|评论|評論|导评|導評|讲解", re.IGNORECASE)


@dataclass(frozen=True)
class VideoStream:
    """The film's picture.

    Attributes:
        index: stream number in the container.
        codec: FFmpeg's codec name, e.g. `h264`.
        width: pixels as displayed, after rotation and pixel aspect.
        height: pixels as displayed, after rotation.
        coded_width: pixels as stored.
        coded_height: pixels as stored.
        rotation: degrees clockwise (0, 90, 180, 270) by which players turn the stored picture.
        pixel_aspect: width of a stored pixel over its height.
        fps_num: numerator of the (average, when variable) frame rate.
        fps_den: its denominator.
        is_vfr: whether the frame intervals vary.
        pixel_format: FFmpeg's name, e.g. `yuv420p10le`.
        interlaced: whether the frames hold two fields.
        frames: number of frames where the container tells, else None.
        start: seconds on the source clock of the first frame.
        duration: seconds from the first frame to the end of the last.
    """

    index: int
    codec: str
    width: int
    height: int
    coded_width: int
    coded_height: int
    rotation: int
    pixel_aspect: float
    fps_num: int
    fps_den: int
    is_vfr: bool
    pixel_format: str
    interlaced: bool
    frames: int | None
    start: float
    duration: float


@dataclass(frozen=True)
class AudioStream:
    """One sound track.

    Attributes:
        index: stream number in the container.
        codec: FFmpeg's codec name, e.g. `aac`.
        sample_rate: Hz.
        channels: number of channels.
        layout: FFmpeg's layout name, e.g. `5.1`.
        language: the tag as written, or None (also for `und`).
        title: the track's title, or None.
        default: marked as default.
        commentary: commentary or a track for hearing- or sight-impaired viewers.
        start: seconds on the source clock of the first sample.
        duration: seconds of sound.
        bits: bits per sample to store without loss: 16 for lossy codecs and 16-bit sources, else 24.
    """

    index: int
    codec: str
    sample_rate: int
    channels: int
    layout: str
    language: str | None
    title: str | None
    default: bool
    commentary: bool
    start: float
    duration: float
    bits: int


@dataclass(frozen=True)
class SubtitleStream:
    """One subtitle track; `text` tells text codecs from bitmaps."""

    index: int
    codec: str
    language: str | None
    title: str | None
    default: bool
    forced: bool
    text: bool


@dataclass(frozen=True)
class Probe:
    """A media file at a glance.

    Attributes:
        duration: seconds on the source clock to the end of the longest stream.
        format: FFmpeg's container name.
        video: the main picture, or None.
        audio: all sound tracks.
        subtitles: all subtitle tracks.
    """

    duration: float
    format: str
    video: VideoStream | None
    audio: tuple[AudioStream, ...]
    subtitles: tuple[SubtitleStream, ...]


def probe(path: MediaSource) -> Probe:
    """Describe a media file.

    Args:
        path: the file, or its bytes.

    Returns:
        Its streams and duration; a missing picture is None and missing sound an empty tuple.

    Raises:
        MediaError: `missing_file`, `unreadable`, `empty_file`, `not_media` or `truncated`.
    """
    with open_media(path) as opened:
        container = opened.container
        pictures = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
        pictures = [s for s in pictures if s.codec_context is not None and s.codec_context.width]
        sounds = [s for s in container.streams.audio if s.codec_context is not None and s.codec_context.sample_rate]
        name = container.format.name
        if not (pictures or sounds) or name in _NOT_FILMS or name.endswith("_pipe"):
            raise MediaError("not_media", f"{opened.name} holds neither picture nor sound (read as {name}); give the real film")
        _check_whole(opened, path)
        whole = container.duration / av.time_base if container.duration else 0.0
        audio = tuple(_audio(opened, stream, whole) for stream in sounds)
        subtitles = tuple(_subtitle(stream) for stream in container.streams.subtitles)
        video = _video(opened, pictures[0], whole) if pictures else None
        ends = [s.start + s.duration for s in (*audio, *((video,) if video else ()))]
        return Probe(max(ends), name, video, audio, subtitles)


def _check_whole(opened: Opened, path: MediaSource) -> None:
    """Raise `truncated` when the container promises more than the file holds.

    An MP4's index gives the last sample's place in the file, and an AVI its size. Elsewhere (Matroska) the promised duration
    is compared with the packets read after seeking near the end; MPEG-TS promises nothing and is as long as its packets.
    """
    container = opened.container
    size = container.size
    message = f"{opened.name} was cut short: it promises {{}}; copy or download it again"
    if container.format.name.startswith("mov"):
        # Track by track, the last sample alone: interleaving puts every track's last sample near the end of the file.
        ends = [(entries[-1].pos + entries[-1].size) for s in container.streams if len(entries := s.index_entries)]
        if ends and size > 0 and max(ends) > size:
            raise MediaError("truncated", message.format(f"{max(ends)} bytes and has {size}"))
        return
    if container.format.name == "avi" and size < (promised_size := _riff_size(path)):
        raise MediaError("truncated", message.format(f"{promised_size} bytes and has {size}"))
    if not container.duration or container.format.name in {"mpegts", "mpeg"}:
        return
    promised = container.duration / av.time_base
    if promised < 2 * TAIL_SECONDS:
        return
    last = 0.0
    try:
        container.seek(int((promised - TAIL_SECONDS + opened.origin) * av.time_base))
        for packet in container.demux():
            if packet.pts is not None and packet.stream.type in {"audio", "video"}:
                last = max(last, opened.seconds(packet.pts, packet.time_base))
    except av.error.FFmpegError:
        last = max(last, 0.0)  # An error before the end is what a cut file gives; `last` tells how far it got.
    if last < promised - TAIL_SECONDS:
        raise MediaError("truncated", message.format(f"{promised:.1f} s and its packets stop at {last:.1f} s"))


def _riff_size(path: MediaSource) -> int:
    """Bytes that an AVI's first RIFF chunk promises; FFmpeg quietly shortens an AVI that lost its index."""
    if isinstance(path, bytes):
        head = path[:8]
    else:
        with Path(path).open("rb") as file:
            head = file.read(8)
    return int.from_bytes(head[4:8], "little") + 8 if head[:4] == b"RIFF" else 0


def _duration(opened: Opened, stream: Any, whole: float, start: float) -> float:
    """Seconds of one stream: its own field, Matroska's DURATION tag (an end time), or the container's duration."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    tag = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
    if tag:
        hours, minutes, seconds = tag.groups()
        return max(0.0, int(hours) * 3600 + int(minutes) * 60 + float(seconds) - opened.origin - start)
    return max(0.0, whole - start)


def _start(opened: Opened, stream: Any) -> float:
    """Seconds of a stream's start on the source clock; codec priming before zero counts as zero."""
    return max(0.0, opened.seconds(stream.start_time, stream.time_base)) if stream.start_time is not None else 0.0


def _language(stream: Any) -> str | None:
    language = stream.metadata.get("language")
    return None if language in {None, "", "und", "unk"} else str(language)


def _audio(opened: Opened, stream: Any, whole: float) -> AudioStream:
    context = stream.codec_context
    flags = av.stream.Disposition
    title = stream.metadata.get("title")
    impaired = flags.comment | flags.hearing_impaired | flags.visual_impaired | flags.descriptions
    start = _start(opened, stream)
    return AudioStream(
        index=stream.index,
        codec=context.codec.canonical_name,
        sample_rate=context.sample_rate,
        channels=context.channels,
        layout=context.layout.name,
        language=_language(stream),
        title=title,
        default=bool(stream.disposition & flags.default),
        commentary=bool(stream.disposition & impaired) or bool(_COMMENTARY.search(title or "")),
        start=start,
        duration=_duration(opened, stream, whole, start),
        bits=sample_bits(context),
    )


def sample_bits(context: Any) -> int:
    """Bits that hold a decoder's samples without loss: 24 for lossless codecs with more than 16, else 16.

    Args:
        context: PyAV's audio codec context. DTS is lossless when it decodes to integers.
    """
    name = context.codec.canonical_name
    name = context.codec.canonical_name
    lossless = name.startswith("pcm_") or name in _LOSSLESS or (name == "dts" and "s32" in context.format.name)
    return 24 if lossless and context.format.bits > 16 else 16


def channel_names(layout: str) -> tuple[str, ...]:
    """FFmpeg's names of a layout's channels in their order, e.g. FL, FR, FC, LFE, BL, BR for `5.1`.

    Args:
        layout: `AudioStream.layout`.

    Returns:
        The names; empty for a layout without any (`6 channels`).
    """
    try:
        return tuple(channel.name for channel in av.AudioLayout(layout).channels)
    except ValueError:
        return ()


def _subtitle(stream: Any) -> SubtitleStream:
    codec = stream.codec_context.codec.canonical_name if stream.codec_context is not None else "unknown"
    flags = av.stream.Disposition
    return SubtitleStream(
        index=stream.index,
        codec=codec,
        language=_language(stream),
        title=stream.metadata.get("title"),
        default=bool(stream.disposition & flags.default),
        forced=bool(stream.disposition & flags.forced),
        text=codec in _TEXT_SUBTITLES,
    )


def _video(opened: Opened, stream: Any, whole: float) -> VideoStream:
    context = stream.codec_context
    rotation, interlaced = _look(opened, stream)
    aspect = float(stream.sample_aspect_ratio or 0) or 1.0
    width, height = round(context.width * aspect), context.height
    if rotation in {90, 270}:
        width, height = height, width
    average, nominal = stream.average_rate, stream.base_rate
    is_vfr = _irregular(opened, stream) or bool(average and nominal and abs(average / nominal - 1) > VFR_SHARE and not interlaced)
    rate = (average if is_vfr else stream.guessed_rate) or average or nominal or Fraction(25)
    start = _start(opened, stream)
    return VideoStream(
        index=stream.index,
        codec=context.codec.canonical_name,
        width=width,
        height=height,
        coded_width=context.width,
        coded_height=context.height,
        rotation=rotation,
        pixel_aspect=aspect,
        fps_num=rate.numerator,
        fps_den=rate.denominator,
        is_vfr=is_vfr,
        pixel_format=context.pix_fmt or "unknown",
        interlaced=interlaced,
        frames=stream.frames or None,
        start=start,
        duration=_duration(opened, stream, whole, start),
    )


def _look(opened: Opened, stream: Any) -> tuple[int, bool]:
    """Rotation in degrees clockwise, and whether most of the first frames are interlaced."""
    stream.codec_context.thread_count = THREADS
    try:
        opened.seek(stream, 0.0)
        frames = list(islice(opened.container.decode(stream), 8))
    except (av.error.FFmpegError, MediaError):
        frames = []
    if not frames:
        raise MediaError("undecodable", f"{opened.name}: its picture cannot be decoded; re-encode or replace the file")
    return round(-frames[0].rotation / 90) * 90 % 360, sum(f.interlaced_frame for f in frames) * 2 > len(frames)


def _irregular(opened: Opened, stream: Any) -> bool:
    """Whether the frame intervals of the first packets vary by more than rounding and a lone dropped frame."""
    opened.seek(stream, 0.0)
    try:
        stamps = [p.pts for p in islice(opened.container.demux(stream), VFR_PACKETS) if p.pts is not None]
    except av.error.FFmpegError:
        return False
    steps = np.diff(np.unique(np.array(stamps, dtype=np.float64)))
    # Packets come in decoding order: the last few may lack a neighbour that is still to come.
    steps = steps[:-4] if len(steps) > 16 else steps
    if len(steps) < 3:
        return False
    usual = float(np.median(steps))
    return float(np.mean(np.abs(steps - usual) > max(2.0, 0.1 * usual))) > VFR_SHARE
