"""The second character: the portrait of `faces`, given short dark hair, a beard, glasses and a blue suit.

Everything is painted onto the portrait before it is animated, so that the beard moves with the jaw.
"""

from __future__ import annotations

import cv2
import numpy as np

from cineforge_hf.dataset_scripts.sample_film.faces import FACE_OUTLINE, SCALE, Image, Points, Portrait

_BEARD: Points = (
    (179, 106), (186, 106), (188, 122), (192, 137), (199, 146), (201, 139), (207, 135.5), (214, 133.2), (224, 134.2),
    (234, 133.2), (242, 136.2), (248, 141), (251, 147), (258, 139), (264, 122), (267, 106), (276, 106), (276, 150),
    (258, 186), (226, 192), (194, 186), (176, 150),
)  # fmt: skip
# Lips and the bare spot under them, as they are once the mouth is closed.
_BARE: Points = (
    (202, 141), (209, 139.8), (217, 140.6), (224, 141.6), (231, 141), (238, 139.8), (246, 141.5), (240, 147.5), (233, 151),
    (224, 152.3), (215, 151), (208, 147.5),
)  # fmt: skip
_BROWS: tuple[Points, ...] = (
    ((188, 92), (193, 88.6), (199, 87.4), (207, 88.4), (214, 91.6), (214, 93.2), (206, 91.6), (198, 90.6)),
    ((236.5, 93.8), (243, 91.4), (251, 91), (259, 92.6), (265, 97), (257, 95.4), (250, 94.2), (243, 94.6)),
)  # fmt: skip


def make_up(portrait: Portrait) -> Portrait:
    """Turn the portrait into a second person, mirrored."""
    bust = _shorten_hair(portrait.bust)
    rgb = bust[..., :3]
    shape = rgb.shape[:2]
    y = np.mgrid[: shape[0], : shape[1]][0].astype(np.float32) / np.float32(SCALE)
    rng = np.random.default_rng(11)
    strands = cv2.GaussianBlur(rng.standard_normal(shape).astype(np.float32), (0, 0), sigmaX=0.9, sigmaY=2.6)
    strands /= strands.std()

    face = _fill(FACE_OUTLINE, shape, 1.6)
    rgb[:] = _suit_to_blue(rgb, y)
    skin = np.maximum(face, _fill(((184, 150), (262, 150), (262, 192), (184, 186)), shape, 2)) * (y < 195)
    rgb *= 1 - skin[..., None] * np.array([0.10, 0.15, 0.19], np.float32)

    hair = (1 - face) * (np.clip((140 - y) / 8, 0, 1)) * (1 - _ears(rgb, y))
    grey = rgb @ np.array([0.3, 0.59, 0.11], np.float32)
    dark = (0.045 + 0.34 * grey[..., None] ** 1.5) * np.array([1.0, 0.86, 0.74], np.float32)
    rgb += hair[..., None] * (dark - rgb)

    beard = _fill(_BEARD, shape, 2.6) * (1 - _fill(_BARE, shape, 1.4)) * _fill(FACE_OUTLINE, shape, 1.8)
    beard = np.clip(beard * (0.84 + 0.07 * strands), 0, 0.9)[..., None]
    rgb += beard * (rgb * 0.22 + np.array([0.030, 0.021, 0.016], np.float32) - rgb)
    lips = _fill(_BARE, shape, 1.6)[..., None]
    rgb *= 1 - lips * np.array([0.10, 0.06, 0.06], np.float32)
    brows = np.clip(sum(_fill(brow, shape, 1.2) for brow in _BROWS) * (0.8 + 0.1 * strands), 0, 0.9)[..., None]
    rgb += brows * (rgb * 0.28 + np.array([0.02, 0.014, 0.01], np.float32) - rgb)
    _draw_glasses(rgb)
    np.clip(rgb, 0, 1, out=rgb)
    return Portrait(bust, portrait.inner, mirrored=True)


def _fill(outline: Points, shape: tuple[int, ...], blur: float) -> Image:
    """A filled outline with a soft edge; `blur` in working pixels."""
    mask = np.zeros(shape[:2], np.float32)
    points = np.round(np.array(outline) * SCALE * 16).astype(np.int32)
    cv2.fillPoly(mask, [points], 1.0, cv2.LINE_8, 4)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), blur))


def _shorten_hair(bust: Image) -> Image:
    """Pull what lies outside the face, above the chin, towards it; the face itself stays, so its contours stay true."""
    height, width = bust.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    centre = np.array([226.0, 106.0]) * SCALE
    dx, dy = x - np.float32(centre[0]), y - np.float32(centre[1])
    radius, angle = np.hypot(dx, dy), np.arctan2(dy, dx)
    outline = np.array(FACE_OUTLINE) * SCALE - centre
    turns = np.arctan2(outline[:, 1], outline[:, 0])
    order = np.argsort(turns)
    around = np.linspace(-np.pi, np.pi, 721)
    edge = np.interp(around, turns[order], np.hypot(*outline[order].T), period=2 * np.pi)
    edge = np.convolve(np.concatenate([edge[-20:], edge, edge[:20]]), np.ones(41) / 41, "valid")
    rim = np.interp(angle, around, edge).astype(np.float32)
    weight = np.clip((138 * SCALE - y) / (26 * SCALE), 0, 1)
    outside = np.maximum(radius - rim, 0)
    factor = (radius + outside * np.float32(0.75) * weight) / np.maximum(radius, 1)
    source = np.dstack([np.float32(centre[0]) + dx * factor, np.float32(centre[1]) + dy * factor]).astype(np.float32)
    return np.asarray(cv2.remap(bust, source, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT), np.float32)


def _ears(rgb: Image, y: Image) -> Image:
    """1 where a pixel beside the face is bright skin rather than hair."""
    skin = ((rgb[..., 0] - rgb[..., 2] > 0.12) & (rgb[..., 0] > 0.62) & (y > 112)).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(skin, (0, 0), 1.2))


def _suit_to_blue(rgb: Image, y: Image) -> Image:
    """Orange cloth becomes dusty blue; folds keep their light."""
    hsv = cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV)  # hue in degrees, the rest 0 to 1
    # Below the neck: skin has the same hue.
    orange = ((hsv[..., 0] < 32) | (hsv[..., 0] > 345)) & (hsv[..., 1] > 0.42) & (y > 194)
    mask = cv2.GaussianBlur(orange.astype(np.float32), (0, 0), 1.5)[..., None]
    light = hsv[..., 2:] ** 1.3
    blue = light * np.array([0.30, 0.42, 0.62], np.float32)
    return np.asarray(rgb + mask * (blue - rgb))


def _draw_glasses(rgb: Image) -> None:
    """Thin rounded frames, a bridge and temples, and a trace of light on the glass."""
    shape = rgb.shape[:2]
    drawn = np.zeros(shape, np.uint8)
    glass = np.zeros(shape, np.float32)
    turns = np.linspace(0, 2 * np.pi, 90)
    for cx, cy in ((202.5, 102.0), (247.5, 104.5)):
        # A superellipse: between a circle and a rectangle.
        px = cx + 18.5 * np.sign(np.cos(turns)) * np.abs(np.cos(turns)) ** 0.62
        py = cy + 13.0 * np.sign(np.sin(turns)) * np.abs(np.sin(turns)) ** 0.62
        points = np.round(np.stack([px, py], 1) * SCALE * 16).astype(np.int32)
        cv2.polylines(drawn, [points], True, 255, 2, cv2.LINE_AA, 4)
        cv2.fillPoly(glass, [points], 1.0, cv2.LINE_8, 4)
    for start, end in (((220.5, 100.0), (229.5, 100.6)), ((184, 99.5), (178, 98)), ((266, 102.5), (273, 101.5))):
        ends = [np.round(np.array([start, end]) * SCALE * 16).astype(np.int32)]
        cv2.polylines(drawn, ends, False, 255, 2, cv2.LINE_AA, 4)
    rims = np.asarray(cv2.GaussianBlur(drawn.astype(np.float32) / 255, (0, 0), 0.6))
    shadow = np.roll(cv2.GaussianBlur(rims, (0, 0), 2.5), 4, axis=0)[..., None]
    rgb *= 1 - 0.30 * shadow
    rgb += 0.035 * glass[..., None]
    rgb += rims[..., None] * (np.array([0.06, 0.05, 0.05], np.float32) - rgb)
