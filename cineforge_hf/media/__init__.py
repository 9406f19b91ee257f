"""Media in and out: the only place in the project that opens media files.

All times are seconds on the source clock (see `source.py`); all pictures and sounds are placed on it by their time stamps.
Names are loaded on first use, so that importing the package does not load FFmpeg.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # No submodule may be named like a function: importing it would bind the module over the function.
    from cineforge_hf.media.brightness import iter_luma as iter_luma
    from cineforge_hf.media.clip import Clip as Clip
    from cineforge_hf.media.clip import open_clip as open_clip
    from cineforge_hf.media.cut import CutInfo as CutInfo
    from cineforge_hf.media.cut import cut_clip as cut_clip
    from cineforge_hf.media.flac import FlacWriter as FlacWriter
    from cineforge_hf.media.flac import encode_flac as encode_flac
    from cineforge_hf.media.frames import Frame as Frame
    from cineforge_hf.media.frames import iter_frames as iter_frames
    from cineforge_hf.media.mixing import quantise as quantise
    from cineforge_hf.media.muxing import mux as mux
    from cineforge_hf.media.sound import iter_sound as iter_sound
    from cineforge_hf.media.sound import iter_sound_ranges as iter_sound_ranges
    from cineforge_hf.media.sound import read_sound as read_sound
    from cineforge_hf.media.source import MediaSource as MediaSource
    from cineforge_hf.media.streams import AudioStream as AudioStream
    from cineforge_hf.media.streams import Probe as Probe
    from cineforge_hf.media.streams import SubtitleStream as SubtitleStream
    from cineforge_hf.media.streams import VideoStream as VideoStream
    from cineforge_hf.media.streams import channel_names as channel_names
    from cineforge_hf.media.streams import probe as probe
    from cineforge_hf.media.timeline import resampled as resampled
    from cineforge_hf.media.tracks import choose_audio as choose_audio

_HOMES = {
    "AudioStream": "streams",
    "Clip": "clip",
    "FlacWriter": "flac",
    "CutInfo": "cut",
    "Frame": "frames",
    "MediaSource": "source",
    "Probe": "streams",
    "SubtitleStream": "streams",
    "VideoStream": "streams",
    "channel_names": "streams",
    "choose_audio": "tracks",
    "cut_clip": "cut",
    "encode_flac": "flac",
    "iter_frames": "frames",
    "iter_luma": "brightness",
    "iter_sound": "sound",
    "iter_sound_ranges": "sound",
    "mux": "muxing",
    "open_clip": "clip",
    "probe": "streams",
    "quantise": "mixing",
    "read_sound": "sound",
    "resampled": "timeline",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value
