"""Two speaking characters from one public-domain photograph.

The photograph is NASA's portrait of the astronaut Eileen Collins, as scikit-image ships it (`skimage.data.astronaut`). She smiles
there, so her lips are closed first; then the mouth opens by a smooth backward warp: the lower lip moves down from the upper one,
the jaw follows, and what lies between shows an inner mouth. `makeup` makes the second character of the same portrait.

Contours are in the photograph's pixels, as read off an enlargement. Images are RGBA float32, 0 to 1, alpha not premultiplied.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage import data

Image = NDArray[np.float32]
Points = tuple[tuple[float, float], ...]

SCALE = 2.0  # working pixels per photograph pixel
CROP_WIDTH, CROP_HEIGHT = 400, 332  # above the name tag and the mission patch
FACE_BOX = (180.0, 76.0, 272.0, 181.0)  # left, top, right, bottom of the face from hairline to chin

_UPPER_LIP: Points = (
    (201.5, 138.6), (205, 140.2), (208, 141.7), (212, 142.2), (216, 143.0), (220, 143.9), (224, 144.3),
    (228, 144.2), (232, 143.5), (236, 142.6), (240, 141.4), (245.5, 140.6),
)  # fmt: skip
_LOWER_LIP: Points = (
    (201.5, 138.6), (205, 142.0), (208, 144.9), (210, 146.5), (214, 148.9), (218, 149.9), (222, 150.2),
    (226, 150.0), (230, 149.4), (233, 148.0), (236, 146.6), (240, 144.2), (243, 142.0), (245.5, 140.6),
)  # fmt: skip
_EYES: tuple[tuple[Points, Points], ...] = (
    (
        ((190.5, 100.6), (194, 99.0), (198, 97.4), (202, 96.8), (206, 97.4), (210, 99.4), (214, 102.2)),
        ((190.5, 100.6), (194, 102.8), (198, 104.0), (202, 104.8), (206, 104.9), (210, 104.0), (214, 102.2)),
    ),
    (
        ((234, 104.0), (238, 101.6), (242, 100.0), (246, 99.4), (250, 99.9), (254, 101.4), (259, 104.2)),
        ((234, 104.0), (238, 106.0), (242, 107.0), (246, 107.6), (250, 107.2), (254, 106.2), (259, 104.2)),
    ),
)
_MOUTH_CENTRE, _MOUTH_HALF = 223.5, 21.0
_PIVOT = (np.float32(226), np.float32(190))  # the head turns about a point in the collar
_NECK = (212.0, 165.0)  # rows between which the neck bends: the first stays, the second moves with the head
_GAP = 11.5  # photograph pixels between the lips at opening 1
FACE_OUTLINE: Points = (
    (184, 78), (190, 77), (200, 80), (210, 81), (222, 81), (235, 84), (248, 88), (258, 90), (266, 89), (270, 100), (271, 115),
    (268, 130), (265, 148), (258, 162), (250, 170), (240, 176), (226, 179), (215, 178), (203, 172), (192, 163), (185, 150),
    (183, 135), (181, 118), (183, 100),
)  # fmt: skip

# Outlines that tell grabCut where the bust may be, is likely, and surely is.
_MAYBE: Points = ((130, 190), (140, 20), (225, 5), (315, 20), (315, 200), (370, 260), (372, 332), (8, 332), (20, 260))
_LIKELY: Points = (
    (160, 90), (170, 55), (230, 17), (290, 50), (298, 90), (280, 125), (264, 140), (260, 165), (280, 185), (305, 220), (345, 260),
    (360, 332), (25, 332), (60, 250), (112, 210), (125, 165), (185, 165), (180, 130),
)  # fmt: skip
_SURE: Points = (
    (166, 95), (180, 55), (230, 24), (285, 55), (290, 90), (268, 120), (258, 145), (255, 172), (275, 190), (295, 220), (335, 270),
    (345, 332), (40, 332), (75, 255), (120, 215), (130, 170), (190, 165), (187, 130),
)  # fmt: skip


@dataclass(frozen=True)
class Portrait:
    """A character: the bust with closed lips, and the inner mouth in the same frame (visible only between open lips)."""

    bust: Image
    inner: Image
    mirrored: bool = False


@dataclass(frozen=True)
class Pose:
    """One moment of a head. All zero shows the portrait untouched.

    Attributes:
        opening: gap between the lips, 0 to 1.
        rounding: how far the lips are drawn together sideways, 0 to 1.
        blink: 0 (eyes open) to 1 (closed).
        turn: head tilt in degrees, about the collar.
        shift: head sideways, in photograph pixels.
        nod: head down, in photograph pixels.
    """

    opening: float = 0.0
    rounding: float = 0.0
    blink: float = 0.0
    turn: float = 0.0
    shift: float = 0.0
    nod: float = 0.0


def _smooth(edge0: float, edge1: float, x: Image) -> Image:
    """Smoothstep from 0 at `edge0` to 1 at `edge1` (which may be the smaller one)."""
    t = np.clip((x - edge0) / (edge1 - edge0), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def _curve(points: Points, x: Image) -> Image:
    """Height of a contour at columns `x`, smoothed over its corners; beyond its ends, the height of the end."""
    grid = np.arange(180, 280, 0.25)
    xs, ys = zip(*points, strict=True)
    heights = np.convolve(np.pad(np.interp(grid, xs, ys), 4, "edge"), np.ones(9) / 9, "valid")
    return np.interp(x, grid, heights).astype(np.float32)


def _grid(rows: slice, columns: slice) -> tuple[Image, Image]:
    """Columns and rows of a range of working pixels, in photograph pixels."""
    y, x = np.mgrid[rows, columns].astype(np.float32)
    return x / np.float32(SCALE), y / np.float32(SCALE)


def _sample(image: Image, x: Image, y: Image) -> Image:
    """Image values at photograph positions."""
    position = np.dstack([x, y]).astype(np.float32) * np.float32(SCALE)
    return np.asarray(cv2.remap(image, position, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)


def load_bust() -> Image:
    """The photographed bust, cut out, at working scale: shape (664, 800, 4)."""
    photo = np.ascontiguousarray(data.astronaut()[:CROP_HEIGHT, :CROP_WIDTH])
    mask = np.full(photo.shape[:2], cv2.GC_BGD, np.uint8)
    for label, outline in ((cv2.GC_PR_BGD, _MAYBE), (cv2.GC_PR_FGD, _LIKELY), (cv2.GC_FGD, _SURE)):
        cv2.fillPoly(mask, [np.array(outline, np.int32)], label)
    cv2.setRNGSeed(0)
    cv2.grabCut(photo, mask, None, np.zeros((1, 65)), np.zeros((1, 65)), 6, cv2.GC_INIT_WITH_MASK)
    solid = np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    # One blob: grabCut leaves crumbs of background.
    _, labels, stats, _ = cv2.connectedComponentsWithStats(solid)
    solid = (labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))).astype(np.uint8)
    solid = cv2.morphologyEx(cv2.morphologyEx(solid, cv2.MORPH_CLOSE, np.ones((5, 5))), cv2.MORPH_OPEN, np.ones((3, 3)))
    size = (round(CROP_WIDTH * SCALE), round(CROP_HEIGHT * SCALE))
    colour = cv2.resize(photo, size, interpolation=cv2.INTER_CUBIC).astype(np.float32) / 255
    alpha = cv2.GaussianBlur(cv2.resize(solid.astype(np.float32), size, interpolation=cv2.INTER_LINEAR), (0, 0), 2.2)
    alpha = np.clip((alpha - 0.5) / 0.45, 0, 1)
    # Near the edge the colours hold some of the studio wall; replace them by what lies just inside.
    inside = (cv2.erode(solid, np.ones((5, 5))) > 0).astype(np.float32)
    inside = cv2.resize(inside, size, interpolation=cv2.INTER_NEAREST)
    weight = cv2.GaussianBlur(inside, (0, 0), 4) + 1e-4
    spread = cv2.GaussianBlur(colour * inside[..., None], (0, 0), 4) / weight[..., None]
    keep = cv2.GaussianBlur(inside, (0, 0), 1.2)[..., None]
    colour = colour * keep + spread * (1 - keep)
    return np.dstack([colour.clip(0, 1), alpha]).astype(np.float32)


def close_lips(bust: Image) -> Portrait:
    """Turn the smile into closed lips, and keep its teeth for the inner mouth."""
    x, y = _grid(slice(bust.shape[0]), slice(bust.shape[1]))
    upper, lower = _curve(_UPPER_LIP, x), _curve(_LOWER_LIP, x)
    below = y >= upper
    fall = _smooth(26, 0, y - upper)
    closed = _sample(bust, x, np.where(below, y + (lower - upper) * fall, y))
    # A soft shadow where the lips meet.
    width = np.clip(1 - np.abs(x - _MOUTH_CENTRE) / _MOUTH_HALF, 0, 1) ** 0.5
    shadow = np.exp(-(((y - upper) / 0.75) ** 2)) * width * 0.55
    closed[..., :3] *= 1 - shadow[..., None] * np.array([0.75, 0.95, 0.95], np.float32)

    depth = y - upper
    inner = np.empty_like(bust)
    inner[..., :3] = np.array([0.16, 0.05, 0.055], np.float32)
    tongue = np.exp(-(((x - _MOUTH_CENTRE) / 11) ** 2) - ((depth - 13) / 4.0) ** 2)[..., None]
    inner[..., :3] += tongue * np.array([0.30, 0.11, 0.12], np.float32)
    aside = np.abs(x - _MOUTH_CENTRE)
    teeth = _smooth(-0.5, 1.0, depth) * _smooth(5.6, 4.0, depth) * _smooth(-0.9, -1.9, y - lower) * _smooth(17, 10, aside)
    light = np.float32(0.92) - 0.35 * _smooth(2, 15, aside)
    inner[..., :3] += teeth[..., None] * (bust[..., :3] * light[..., None] - inner[..., :3])
    # The upper lip's shade falls on the teeth.
    inner[..., :3] *= (0.55 + 0.45 * _smooth(0, 2.5, depth))[..., None]
    inner[..., 3] = 1
    return Portrait(closed, inner)


_MOVING = (slice(150, 420), slice(320, 580))  # working pixels that a face's muscles move: eyes to below the chin


def express(portrait: Portrait, pose: Pose) -> Image:
    """The bust with the pose's mouth and eyes; the head's own motion is left to `place`."""
    out = portrait.bust.copy()
    x, y = _grid(*_MOVING)
    # An open mouth is narrower than the smile that this one grew from.
    rounding = np.float32(0.22 * pose.rounding + 0.18 * pose.opening)
    near = np.exp(-(((x - _MOUTH_CENTRE) / 22) ** 2) - ((y - 148) / 13) ** 2)
    x = (x + (x - _MOUTH_CENTRE) * near * rounding).astype(np.float32)
    u = np.clip(np.abs(x - _MOUTH_CENTRE) / _MOUTH_HALF, 0, 1)
    gap = np.float32(_GAP * pose.opening) * (1 - u**2) ** np.float32(0.8)
    depth = y - _curve(_UPPER_LIP, x)
    past = np.maximum(depth - gap, 0)
    # The lower lip goes down by the gap; further down the skin gives, and the jaw's own, smaller drop takes over.
    near_lip = _smooth(16, 0, past)
    jaw = np.float32(_GAP * 0.5 * pose.opening) * _smooth(50, 12, np.abs(x - _MOUTH_CENTRE)) * _smooth(56, 28, past)
    drop = gap * near_lip + jaw * (1 - near_lip)
    source_y = np.where(depth > 0, y - np.where(depth < gap, depth, drop), y).astype(np.float32)
    for upper, lower in _EYES if pose.blink else ():
        top, bottom = _curve(upper, x), _curve(lower, x)
        lid = (bottom - top) * np.float32(pose.blink)
        source_y -= np.where(y <= top + lid, lid * np.clip(1 + (y - top - lid) / 11, 0, 1), 0)
    face = _sample(portrait.bust, x, source_y)
    if pose.opening:
        show = np.clip(depth / 0.8, 0, 1) * np.clip((gap - depth) / 0.8, 0, 1) * np.clip(gap / 1.5, 0, 1)
        face[..., :3] += show[..., None] * (_sample(portrait.inner, x, y)[..., :3] - face[..., :3])
    out[_MOVING] = face
    return out


def place(bust: Image, pose: Pose, camera: NDArray[np.float64], size: tuple[int, int]) -> Image:
    """The bust as a camera sees it, with the head's motion.

    Args:
        bust: from `express`.
        pose: the head's tilt, shift and nod.
        camera: 2 x 3 matrix from photograph pixels to screen pixels.
        size: screen width and height.

    Returns:
        RGBA with alpha premultiplied, shape (height, width, 4).
    """
    back = cv2.invertAffineTransform(camera).astype(np.float32)
    row, column = np.mgrid[: size[1], : size[0]].astype(np.float32)
    x = back[0, 0] * column + back[0, 1] * row + back[0, 2]
    y = back[1, 0] * column + back[1, 1] * row + back[1, 2]
    # The head moves as a whole, the collar stays, the neck in between gives.
    weight = _smooth(*_NECK, y)
    angle = np.float32(np.deg2rad(pose.turn)) * weight
    dx, dy = x - _PIVOT[0], y - _PIVOT[1]
    x, y = _PIVOT[0] + dx + dy * angle - pose.shift * weight, _PIVOT[1] + dy - dx * angle - pose.nod * weight
    premultiplied = bust * np.dstack([bust[..., 3:]] * 3 + [np.ones_like(bust[..., 3:])])
    position = np.dstack([x, y]).astype(np.float32) * np.float32(SCALE)
    return np.asarray(cv2.remap(premultiplied, position, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT), np.float32)


def face_box(pose: Pose, camera: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """Left, top, width and height of the face on the screen, from hairline to chin."""
    left, top, right, bottom = FACE_BOX
    corners = np.array([(left, top), (right, top), (left, bottom), (right, bottom)])
    angle = np.deg2rad(pose.turn)
    dx, dy = (corners - np.array(_PIVOT)).T
    moved = np.stack([_PIVOT[0] + dx - dy * angle + pose.shift, _PIVOT[1] + dy + dx * angle + pose.nod], axis=1)
    screen = moved @ camera[:, :2].T + camera[:, 2]
    low, high = screen.min(axis=0), screen.max(axis=0)
    return float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1])
