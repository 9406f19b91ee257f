"""Frames of the sample film: who stands where in each shot, how heads and cameras move, and the grading."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cineforge_hf.dataset_scripts.sample_film import faces, scenery
from cineforge_hf.dataset_scripts.sample_film.makeup import make_up
from cineforge_hf.dataset_scripts.sample_film.script import FPS, HEIGHT, SCENES, WIDTH, Shot, Timeline, View

Curves = dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]
Box = tuple[float, float, float, float]

_ANCHOR = (226.0, 128.0)  # middle of the face in the photograph


@dataclass(frozen=True)
class Mark:
    """Where a character stands: the face's middle on the screen, and screen pixels per photograph pixel."""

    character: str
    x: float
    y: float
    scale: float


# Later marks stand in front.
_MARKS: dict[View, tuple[Mark, ...]] = {
    "a": (Mark("a", 300, 190, 1.46),),
    "b": (Mark("b", 350, 178, 1.58),),
    "two_warm": (Mark("a", 186, 168, 1.28), Mark("b", 462, 160, 1.32)),
    "two_cold": (Mark("b", 468, 164, 1.32), Mark("a", 180, 168, 1.28)),
}


@dataclass(frozen=True)
class Frame:
    """One picture, and where the faces are in it."""

    rgb: NDArray[np.uint8]
    boxes: dict[str, Box]


def film(timeline: Timeline, curves: Curves, seed: int) -> Iterator[Frame]:
    """Draw the film, frame by frame.

    Args:
        timeline: shots and cues.
        curves: for each character, mouth opening and rounding per frame.
        seed: of blinks and head motion.
    """
    first = faces.close_lips(faces.load_bust())
    portraits = {"a": first, "b": make_up(first)}
    heads = {
        name: _head_motion(timeline.frames, curves[name][0], np.random.default_rng([seed, i])) for i, name in enumerate(portraits)
    }
    titles = [cue for cue in timeline.cues if SCENES[cue.scene].burnt_in]
    for shot in timeline.shots:
        for number in range(shot.first, shot.last):
            progress = (number - shot.first) / max(shot.last - shot.first - 1, 1)
            boxes: dict[str, Box] = {}
            if shot.view in ("title", "end"):
                rgb = scenery.card(shot.view)
            elif shot.view in ("launch", "sunrise"):
                rgb = scenery.landscape(shot.view, progress)
            else:
                rgb = _people(shot, number, progress, portraits, heads, curves, boxes)
            rgb = _grade(rgb) * _fade(timeline, shot, number)
            for cue in titles:
                if cue.start <= (number + 0.5) / FPS < cue.end + 0.15:
                    colour, cover = scenery.subtitle(cue.line.text)
                    rgb = rgb * (1 - cover) + colour
            yield Frame((rgb.clip(0, 1) * 255 + 0.5).astype(np.uint8), boxes)


def _people(
    shot: Shot,
    number: int,
    progress: float,
    portraits: dict[str, faces.Portrait],
    heads: dict[str, NDArray[np.float64]],
    curves: Curves,
    boxes: dict[str, Box],
) -> faces.Image:
    """A shot of one or two characters in the cabin; fills `boxes`."""
    warm = SCENES[shot.scene].lang == "zh"
    seconds = number / FPS
    # A camera on a shoulder: a slow push-in and a sway of a few pixels.
    zoom = 1.0 + 0.05 * progress
    sway_x = 5.0 * np.sin(2 * np.pi * seconds / 6.1) + 2.0 * np.sin(2 * np.pi * seconds / 2.7)
    sway_y = 2.5 * np.sin(2 * np.pi * seconds / 4.3 + 1.0)
    rgb = scenery.interior(warm, 0.4 * sway_x - 6 * progress)
    for mark in _MARKS[shot.view]:
        portrait = portraits[mark.character]
        scale = mark.scale * zoom
        sign = -1.0 if portrait.mirrored else 1.0
        x, y = WIDTH / 2 + (mark.x - WIDTH / 2) * zoom + sway_x, HEIGHT / 2 + (mark.y - HEIGHT / 2) * zoom + sway_y
        matrix = np.array([[sign * scale, 0, x - sign * scale * _ANCHOR[0]], [0, scale, y - scale * _ANCHOR[1]]])
        turn, shift, nod, blink = heads[mark.character][number]
        opening, rounding = (float(curve[number]) for curve in curves[mark.character])
        pose = faces.Pose(opening, rounding, float(blink), float(turn), float(shift), float(nod))
        bust = faces.place(faces.express(portrait, pose), pose, matrix, (WIDTH, HEIGHT))
        rgb = bust[..., :3] * _light(warm) + rgb * (1 - bust[..., 3:])
        boxes[mark.character] = faces.face_box(pose, matrix)
    return rgb


def _light(warm: bool) -> faces.Image:
    """The cabin's light on a person: colour, and a little darker towards the lower edge of the screen."""
    colour = np.array([1.03, 0.95, 0.85] if warm else [0.94, 0.97, 1.04], np.float32)
    fall = 1.0 - 0.35 * np.linspace(0, 1, HEIGHT, dtype=np.float32) ** 2
    return np.asarray(colour * fall[:, None, None], np.float32)


def _head_motion(frames: int, opening: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Tilt (degrees), sideways shift and nod (photograph pixels) and blink for every frame: shape (frames, 4).

    A head drifts slowly, and nods with what it says.
    """
    t = np.arange(frames) / FPS
    drift = [
        size * sum(np.sin(2 * np.pi * t / period + rng.uniform(0, 6.28)) for period in rng.uniform(2.2, 5.5, 3)) / 2
        for size in (1.7, 2.0, 0.9)
    ]
    kernel = np.hanning(13) / np.hanning(13).sum()
    nod = drift[2] + 1.8 * np.convolve(opening, kernel, "same")
    blink = np.zeros(frames)
    at = rng.uniform(0.8, 2.0)
    while at < frames / FPS - 0.5:
        first = int(at * FPS)
        blink[first : first + 4] = (0.55, 1.0, 0.8, 0.3)
        at += rng.uniform(2.2, 4.2)
    return np.stack([drift[0], drift[1], nod, blink], axis=1)


def _grade(rgb: faces.Image) -> faces.Image:
    """A gentle film curve and darker corners."""
    y, x = np.mgrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j].astype(np.float32)
    corners = 1 - 0.22 * np.clip((x**2 + y**2) / 2, 0, 1) ** 1.5
    smooth = rgb * rgb * (3 - 2 * rgb)
    return np.asarray((0.72 * rgb + 0.28 * smooth) * corners[..., None], np.float32)


def _fade(timeline: Timeline, shot: Shot, number: int) -> float:
    """Brightness, 0 to 1: cards and landscapes come from black and go to black; faces are cut."""
    if shot.view in ("a", "b", "two_warm", "two_cold"):
        return 1.0
    length = 0.5 * FPS
    inward = (number - shot.first + 1) / length
    outward = (shot.last - number) / length
    if shot.view == "end" and shot.last == timeline.frames:
        outward /= 1.6
    return float(min(1.0, inward, outward))
