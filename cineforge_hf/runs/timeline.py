"""The timeline picture of a clip: what is seen, heard and said, on one axis, readable at a glance."""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from cineforge_hf.media import Clip

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_THUMBNAILS = 8
_THUMBNAIL_WIDTH = 160
_SOUND_RATE = 8000
_COLUMNS = 1200
SPEECH, CUE, SOUND = "#2a9d8f", "#264653", "#8d99ae"
_CJK_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Source Han Sans SC",
    "WenQuanYi Micro Hei",
    "PingFang SC",
    "Microsoft YaHei",
)


def timeline_picture(row: Mapping[str, Any], clip: Clip) -> bytes:
    """Draws a clip: thumbnails, waveform, voice activity, and the cues with their text.

    Args:
        row: a clip row (`clip_cues`, `clip_speech`, `text`).
        clip: its media.

    Returns:
        A WebP picture of 1200 x 300 pixels. Chinese text is drawn when a font for it is installed.

    Raises:
        MediaError: the clip's media cannot be read.
    """
    from matplotlib.figure import Figure
    from PIL import Image

    figure = Figure(figsize=(12, 3), dpi=100, layout="constrained")
    _draw(figure, row, clip)
    drawn, buffer = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png")
    Image.open(drawn).convert("RGB").save(buffer, "WEBP", quality=80)
    return buffer.getvalue()


def text_font() -> dict[str, str]:
    """Font arguments that can draw Chinese where the system has such a font, else none."""
    name = _cjk_font()
    return {"family": name} if name else {}


def can_draw(text: str) -> bool:
    """Whether the fonts at hand have the characters of a text."""
    return _cjk_font() is not None or all(ord(c) < 0x2E80 for c in text)


@cache
def _cjk_font() -> str | None:
    from matplotlib import font_manager

    known = set(font_manager.get_font_names())
    return next((name for name in _CJK_FONTS if name in known), None)


def _draw(figure: Figure, row: Mapping[str, Any], clip: Clip) -> None:
    picture, sound = figure.subplots(2, 1, sharex=True, height_ratios=(1, 1.3))
    _draw_thumbnails(picture, clip)
    _draw_sound(sound, clip)
    for span in row.get("clip_speech") or ():
        sound.axvspan(span["start"], span["end"], 0, 0.06, color=SPEECH)
    for cue in row.get("clip_cues") or ():
        sound.axvspan(cue["start"], cue["end"], 0.86, 1, color=CUE, alpha=0.9)
        if can_draw(cue["text"]):
            width = max(8, int(110 * (cue["end"] - cue["start"]) / clip.duration))
            text = cue["text"] if len(cue["text"]) <= width else cue["text"][: width - 1] + "…"
            middle = (cue["start"] + cue["end"]) / 2
            place = {"transform": sound.get_xaxis_transform(), "ha": "center", "va": "center", "clip_on": True}
            sound.text(middle, 0.925, text, color="white", fontsize=9, **place, **text_font())
    sound.set_xlim(0, clip.duration)
    sound.set_xlabel("seconds")


def _draw_thumbnails(axes: Axes, clip: Clip) -> None:
    rate = _THUMBNAILS / clip.duration
    pictures = [frame.image for frame in clip.frames(fps=rate, width=_THUMBNAIL_WIDTH)][:_THUMBNAILS]
    if pictures:
        axes.imshow(np.concatenate(pictures, axis=1), extent=(0, clip.duration, 0, 1), aspect="auto")
    axes.set_axis_off()


def _draw_sound(axes: Axes, clip: Clip) -> None:
    samples = clip.sound(rate=_SOUND_RATE, mono=True)[0]
    edges = np.linspace(0, len(samples), _COLUMNS + 1).astype(int)[:-1]
    if len(samples) >= _COLUMNS:
        low, high = np.minimum.reduceat(samples, edges), np.maximum.reduceat(samples, edges)
        axes.fill_between(np.linspace(0, clip.duration, _COLUMNS), low, high, color=SOUND, linewidth=0)
        peak = max(float(high.max()), float(-low.min()), 1e-3)
        axes.set_ylim(-1.6 * peak, 1.6 * peak)  # room for the cues above and the voice activity below
    axes.set_yticks([])
    axes.spines[["left", "right", "top"]].set_visible(False)
