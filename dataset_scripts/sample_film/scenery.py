"""Everything in the picture but the people: two landscapes, two interiors, the cards and the burnt-in subtitles.

Landscapes and interiors are painted once, larger than the screen, and filmed by a slowly moving camera. RGB float32, 0 to 1.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from cineforge_hf.dataset_scripts.sample_film.script import HEIGHT, WIDTH
from cineforge_hf.errors import UsageError

Image = NDArray[np.float32]

MARGIN = 1.15  # paintings are this much larger than the screen
_W, _H = round(WIDTH * MARGIN), round(HEIGHT * MARGIN)
_FONTS = Path("/usr/share/fonts/opentype/noto")  # where Debian's fonts-noto-cjk puts them
_SIMPLIFIED = 2  # face number in Noto's collections


def font(kind: str, size: int) -> ImageFont.FreeTypeFont:
    """A Noto CJK font, `Serif` or `Sans`.

    Raises:
        UsageError: the font is not installed.
    """
    path = _FONTS / f"Noto{kind}CJK-{'Regular' if kind == 'Serif' else 'Bold'}.ttc"
    if not path.is_file():
        raise UsageError(
            f"{path} writes the sample film's subtitles and was not found; Debian or Ubuntu: apt-get install fonts-noto-cjk"
        )
    return ImageFont.truetype(str(path), size, index=_SIMPLIFIED, layout_engine=ImageFont.Layout.BASIC)


def _colour(*levels: int) -> Image:
    return np.array(levels, np.float32) / np.float32(255)


def _gradient(stops: tuple[tuple[float, Image], ...], at: Image) -> Image:
    """Colours along `at` through (position, colour) stops."""
    places = [place for place, _ in stops]
    return np.stack([np.interp(at, places, [colour[i] for _, colour in stops]) for i in range(3)], axis=-1).astype(np.float32)


def _stars(count: int, rng: np.random.Generator, below: float = 1.0) -> Image:
    """Small soft points of light on black, in the upper part `below` of the painting."""
    sky = np.zeros((_H, _W), np.float32)
    sky[rng.integers(0, round(_H * below), count), rng.integers(0, _W, count)] = rng.uniform(0.25, 1.0, count) ** 2
    return np.asarray(cv2.GaussianBlur(sky, (0, 0), 0.8) * 3.2)[..., None]


def _axes() -> tuple[Image, Image]:
    """Columns and rows of the painting, 0 to 1 (columns in units of the height too: a circle stays round)."""
    y, x = np.mgrid[:_H, :_W].astype(np.float32) / _H
    return x, y


@cache
def _launch() -> Image:
    """Night at the launch site: the moon, hills, and a lit rocket mirrored in water."""
    rng = np.random.default_rng(3)
    x, y = _axes()
    stops = ((0.0, _colour(8, 12, 34)), (0.4, _colour(25, 38, 82)), (0.58, _colour(92, 76, 116)), (0.70, _colour(222, 140, 104)))
    land = _gradient(stops, y) + _stars(170, rng, 0.5) * 0.8
    distance = np.hypot(x - 1.36, y - 0.26)
    moon = np.clip((0.085 - distance) * _H / 1.5, 0, 1)[..., None]
    craters = cv2.GaussianBlur(rng.standard_normal((_H, _W)).astype(np.float32), (0, 0), 7) * 1.3
    land += np.exp(-distance[..., None] / 0.11) * _colour(120, 110, 120) * 0.55
    land += moon * (_colour(250, 240, 218) * (0.90 + craters[..., None] * 0.8) - land)
    horizon = 0.72
    for depth, tint, height in ((0.0, _colour(86, 64, 98), 0.10), (1.0, _colour(44, 36, 66), 0.055)):
        ridge = sum(np.sin(x[0] * f * (3.1 + depth) + f + depth * 2) / f for f in (1.3, 2.9, 5.3, 9.7))
        top = horizon - height * (0.55 + 0.35 * np.asarray(ridge))
        land += np.clip((y - top[None]) * _H / 1.5, 0, 1)[..., None] * (tint - land)
    # The rocket on its pad, its tower, and the floodlights' glow around them.
    land += np.exp(-(((x - 0.52) / 0.17) ** 2) - ((y - 0.62) / 0.22) ** 2)[..., None] * _colour(255, 196, 130) * 0.42
    canvas = Pillow.new("L", (_W * 4, _H * 4))
    draw = ImageDraw.Draw(canvas)

    def box(left: float, top: float, right: float, bottom: float, level: int) -> None:
        draw.rectangle([round(v * _H * 4) for v in (left, top, right, bottom)], fill=level)

    for step in range(9):  # the tower's lattice
        box(0.448, 0.40 + step * 0.036, 0.482, 0.404 + step * 0.036, 60)
    box(0.448, 0.36, 0.453, 0.72, 60)
    box(0.477, 0.36, 0.482, 0.72, 60)
    box(0.482, 0.50, 0.512, 0.506, 60)
    box(0.509, 0.42, 0.541, 0.70, 240)
    draw.polygon([round(v * _H * 4) for v in (0.509, 0.42, 0.525, 0.335, 0.541, 0.42)], fill=240)
    draw.polygon([round(v * _H * 4) for v in (0.509, 0.62, 0.493, 0.70, 0.557, 0.70, 0.541, 0.62)], fill=200)
    box(0.509, 0.47, 0.541, 0.478, 120)
    box(0.46, 0.70, 0.60, 0.725, 50)
    shape = np.asarray(canvas.resize((_W, _H), Pillow.Resampling.LANCZOS), np.float32)[..., None] / 255
    shade = np.clip(1.12 - np.abs(x - 0.521) / 0.026, 0.35, 1)[..., None]  # round, lit from the left
    land += np.clip(shape * 6, 0, 1) * (shape * shade * _colour(255, 240, 220) - land)
    # Water: the land upside down, darker and rippled.
    shore = round(horizon * _H)
    rows = np.arange(_H - shore)
    ripple = np.sin(rows**0.75 * 1.9)[:, None] * (1 + rows[:, None] * 0.045) + 0 * x[: _H - shore]
    source_x = np.arange(_W, dtype=np.float32)[None] + ripple.astype(np.float32) * 1.3
    source_y = np.repeat(np.maximum(shore - 1 - rows * 1.35, 0).astype(np.float32)[:, None], _W, 1)
    mirror = cv2.remap(land, source_x.astype(np.float32), source_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    land[shore:] = mirror * 0.62 * (1 - 0.4 * rows[:, None, None] / rows.size) + _colour(6, 10, 26) * 0.5
    return land.clip(0, 1)


@cache
def _sunrise() -> Image:
    """The sun rising over the sea as seen from orbit."""
    rng = np.random.default_rng(5)
    x, y = _axes()
    height = 2.05 - np.hypot(x - 0.8, y - 2.62)  # negative above the horizon, positive inside the planet
    space = _gradient(((0.0, _colour(3, 4, 12)), (1.0, _colour(7, 9, 26))), y) + _stars(260, rng) * 0.75
    along = np.exp(-np.abs(x - 1.08) / 0.55)[..., None]
    air = np.exp(np.clip(height, None, 0) / 0.035)[..., None]
    space = space + air * (_colour(70, 150, 255) * (0.35 + 0.65 * along) + _colour(255, 190, 120) * along**2 * 0.55)
    clouds = np.zeros((_H, _W), np.float32)
    for size, weight in ((26, 1.0), (12, 0.6), (5, 0.35)):
        layer = cv2.GaussianBlur(rng.standard_normal((_H, _W)).astype(np.float32), (0, 0), sigmaX=size * 2.2, sigmaY=size * 0.55)
        clouds += weight * layer / layer.std()
    clouds = np.clip(clouds / 2.2, 0, 1)[..., None]
    depth = np.clip(height, 0, None)[..., None]
    sea = _colour(10, 32, 74) + np.exp(-depth / 0.10) * along * _colour(120, 150, 190) * 0.9
    sea = sea + clouds * (_colour(205, 195, 205) * (0.22 + 0.75 * along * np.exp(-depth / 0.30)) - sea) * 0.75
    glitter = np.exp(-(((x - 1.08) / (0.05 + 0.5 * np.clip(height, 0, None))) ** 2) - np.clip(height, 0, None) / 0.18)[..., None]
    sea = sea + glitter * _colour(255, 205, 140) * 0.75
    inside = np.clip(height * _H / 1.6, 0, 1)[..., None]
    view = space + inside * (sea - space)
    sun = np.hypot(x - 1.08, y - 0.565)[..., None]
    shine = np.exp(-((sun / 0.028) ** 2)) * 1.2 + np.exp(-sun / 0.075) * 0.75 + np.exp(-sun / 0.3) * 0.18
    view = view + _colour(255, 225, 175) * shine
    streak = np.exp(-np.abs(y - 0.565) / 0.006 - np.abs(x - 1.08) / 0.33)[..., None]
    return np.asarray((view + streak * _colour(255, 210, 170) * 0.5).clip(0, 1), np.float32)


@cache
def _interior(warm: bool) -> Image:
    """A dim cabin out of focus: panels, and discs of light from instruments."""
    rng = np.random.default_rng(7 if warm else 8)
    x, y = _axes()
    low, high = (_colour(26, 17, 20), _colour(104, 66, 48)) if warm else (_colour(9, 15, 28), _colour(38, 66, 92))
    light = np.exp(-(((x - (0.45 if warm else 1.35)) / 0.85) ** 2) - ((y - 0.30) / 0.65) ** 2)[..., None]
    room = low + (high - low) * light
    for edge in np.arange(0.12, 1.8, 0.29):  # ribs of the cabin wall
        room = room * (1 - 0.20 * np.exp(-(((x - edge) / 0.016) ** 2)))[..., None]
    amber = (_colour(255, 186, 96), _colour(255, 122, 70), _colour(255, 226, 170))
    cool = (_colour(92, 200, 255), _colour(120, 160, 255), _colour(190, 255, 236))
    tints = amber if warm else cool
    for _ in range(30):
        cx, radius = rng.uniform(0, 1.78), rng.uniform(0.012, 0.042)
        cy = rng.choice([rng.uniform(0.02, 0.4), rng.uniform(0.5, 0.95)])
        distance = np.hypot(x - cx, y - cy)
        disc = np.clip((radius - distance) * _H / 3 + 0.5, 0, 1) * (0.75 + 0.25 * np.clip(distance / radius, 0, 1) ** 3)
        room = room + disc[..., None] * tints[int(rng.integers(3))] * rng.uniform(0.10, 0.34)
    return np.asarray(cv2.GaussianBlur(np.asarray(room, np.float32), (0, 0), 1.6)).clip(0, 1)


def _filmed(painting: Image, zoom: float, shift_x: float, shift_y: float = 0.0) -> Image:
    """The painting through the camera: `zoom` 1 fills the screen from the painting's middle; shifts in screen pixels."""
    matrix = np.array([[zoom, 0, WIDTH / 2 - zoom * _W / 2 + shift_x], [0, zoom, HEIGHT / 2 - zoom * _H / 2 + shift_y]])
    return np.asarray(cv2.warpAffine(painting, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))


def landscape(view: str, progress: float) -> Image:
    """`launch` or `sunrise`, with a slow push-in as `progress` runs from 0 to 1."""
    if view == "launch":
        return _filmed(_launch(), 0.93 + 0.10 * progress, 8 - 12 * progress)
    return _filmed(_sunrise(), 0.92 + 0.06 * progress, -10 + 10 * progress, 10 - 14 * progress)


def interior(warm: bool, drift: float) -> Image:
    """The cabin behind the characters; `drift`, in pixels, moves it less than them."""
    return _filmed(_interior(warm), 1.0, drift)


@cache
def card(view: str) -> Image:
    """The title or the end card."""
    rng = np.random.default_rng(9)
    x, y = _axes()
    glow = np.exp(-(((x - 0.89) / 0.75) ** 2) - ((y - 0.52) / 0.5) ** 2)[..., None]
    page = _colour(7, 9, 20) + glow * _colour(24, 34, 66) + _stars(150, rng) * 0.5
    page = np.asarray(_filmed(page.astype(np.float32), 1 / MARGIN, 0))
    sheet = Pillow.fromarray((page.clip(0, 1) * 255).round().astype(np.uint8))
    draw = ImageDraw.Draw(sheet)
    gold, white, grey = (232, 196, 132), (240, 238, 230), (150, 156, 178)

    def centred(y: float, text: str, face: ImageFont.FreeTypeFont, fill: tuple[int, int, int]) -> None:
        draw.text((WIDTH / 2, y), text, font=face, fill=fill, anchor="mm")

    if view == "title":
        centred(142, "归 航", font("Serif", 76), white)
        draw.line([(WIDTH / 2 - 70, 206), (WIDTH / 2 + 70, 206)], fill=gold, width=1)
        centred(232, "H O M E W A R D", font("Serif", 22), gold)
        centred(318, "a sample film by cineforge_hf", font("Serif", 14), grey)
    else:
        centred(128, "完", font("Serif", 64), white)
        draw.line([(WIDTH / 2 - 40, 182), (WIDTH / 2 + 40, 182)], fill=gold, width=1)
        centred(206, "T H E   E N D", font("Serif", 18), gold)
        centred(284, "Portrait photograph: NASA, public domain", font("Serif", 14), grey)
        centred(306, "The characters are fictional, the voices synthetic", font("Serif", 14), grey)
    return np.asarray(sheet, np.float32) / np.float32(255)


@cache
def subtitle(text: str) -> tuple[Image, Image]:
    """A burnt-in subtitle: its colour and its coverage, both the size of the screen."""
    lines: dict[str, Image] = {}
    for name, stroke in (("text", 0), ("edge", 2)):
        sheet = Pillow.new("L", (WIDTH, HEIGHT))
        place = (WIDTH / 2, HEIGHT - 28)
        ImageDraw.Draw(sheet).text(place, text, font=font("Sans", 24), fill=255, stroke_width=stroke, anchor="mm")
        lines[name] = np.asarray(sheet, np.float32)[..., None] / np.float32(255)
    return np.asarray(lines["text"] * _colour(250, 248, 240), np.float32), lines["edge"]
