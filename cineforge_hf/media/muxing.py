"""New sound under an untouched picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from cineforge_hf.errors import MediaError
from cineforge_hf.media.decode import pick_stream
from cineforge_hf.media.encode import CONTAINER_OPTIONS, add_aac, decoding_times, interleave, sound_packets
from cineforge_hf.media.files import atomic_path
from cineforge_hf.media.mixing import Sound
from cineforge_hf.media.sound import read_stereo
from cineforge_hf.media.source import MediaSource, Opened, media_errors, open_media
from cineforge_hf.media.streams import probe

AAC_BIT_RATE = 192_000
"""For a finished film; transparent for stereo."""

_AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)


def mux(
    video_path: MediaSource, sound: Sound | MediaSource, rate: int | None, destination: Path, *, metadata: Mapping[str, str]
) -> None:
    """Write a film with the picture of one file, packet for packet, and another sound (AAC 192 kb/s).

    Args:
        video_path: the film whose picture is kept.
        sound: float32 (channels, n) with one or two channels, or a file with sound. Its first sample is heard at zero on
            the source clock.
        rate: Hz of the array; None for a file, which has its own.
        destination: MP4 to write, atomically.
        metadata: tags of the film, e.g. `{"title": ..., "comment": ...}`.

    Raises:
        MediaError: `no_video_stream`, `no_audio_stream`, `bad_sound`, `unsupported_codec` for a picture that MP4 cannot hold.
        SystemicError: the destination's folder cannot be written to.
    """
    if isinstance(sound, np.ndarray):
        if sound.ndim != 2 or len(sound) not in {1, 2} or rate not in _AAC_RATES:
            raise MediaError(
                "bad_sound", f"cannot mux sound of shape {sound.shape} at {rate} Hz; give (1 or 2, n) at an AAC rate"
            )
        track, hertz = sound, int(rate or 0)
    else:
        track, hertz = read_stereo(sound, 0.0, probe(sound).duration, rates=_AAC_RATES)
    with atomic_path(destination) as temporary, media_errors(str(destination), "write the film"), ExitStack() as stack:
        opened = stack.enter_context(open_media(video_path))
        source = pick_stream(opened, "video", None)
        container = stack.enter_context(av.open(str(temporary), "w", format="mp4", container_options=CONTAINER_OPTIONS))
        try:
            picture = container.add_stream_from_template(source, opaque=True)
        except ValueError as error:
            codec = source.codec_context.name
            raise MediaError(
                "unsupported_codec", f"{opened.name}: MP4 cannot hold {codec}; convert the picture to H.264"
            ) from error
        container.metadata.update(metadata)
        aac = add_aac(container, hertz, len(track), AAC_BIT_RATE)
        container.start_encoding()
        for packet in interleave([_copied(opened, video_path, source, picture), sound_packets(aac, track)]):
            container.mux(packet)


def _copied(opened: Opened, path: MediaSource, source: Any, target: Any) -> Iterator[Any]:
    """The source's packets on the source clock, with decoding times made anew: Matroska stores none, others repeat some."""
    with open_media(path) as again:
        packets = again.container.demux(pick_stream(again, "video", None))
        shown = [(_shown(again, packet), packet.duration or 1) for packet in packets if packet.size]
        times = iter(decoding_times([at for at, _ in shown], max(at + length for at, length in shown)))
    shift = round(Fraction(opened.origin).limit_denominator(1_000_000) / source.time_base)
    for packet in opened.container.demux(source):
        if packet.size == 0:
            continue
        packet.pts = _shown(opened, packet) - shift
        packet.dts = next(times) - shift
        packet.stream = target
        yield packet


def _shown(opened: Opened, packet: Any) -> int:
    """Presentation time of a packet; AVI gives decoding times alone, which are the same as long as nothing is reordered."""
    if packet.pts is None and (packet.dts is None or packet.stream.codec_context.has_b_frames):
        raise MediaError("no_timestamps", f"{opened.name}: its pictures carry no time stamps; remux the film to Matroska or MP4")
    return int(packet.dts if packet.pts is None else packet.pts)
