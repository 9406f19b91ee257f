"""Text in a picture: RapidOCR with the PP-OCRv6 weights that its wheel carries (Chinese and English).

Invariants: one thread per model, so that results and speed do not depend on the machine's load; nothing is downloaded; pictures
are gray, since strokes carry the text and colours do not.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cineforge_hf.errors import UsageError
from cineforge_hf.processor import EngineInfo

Gray = npt.NDArray[np.uint8]

WIDTH = 640
"""Pixels across that pictures are read at: Chinese and the smaller English line are both read, in 0.1 to 0.2 s."""
MIN_SCORE = 0.6
"""A row read with less confidence is texture. Real rows were seen at 0.9 and above."""

MARGIN = 0.4
"""Heights beside a located row that are read with it: the detector overlooks a thin first or last character (一)."""
GAP = 0.25
"""Heights between two pieces of one row from which they are read apart."""
SAME_ROW = 2.5
"""Heights between two pieces of one row at most; what stands further aside is a logo."""

_WEIGHTS = ("PP-OCRv6_det_small.onnx", "PP-OCRv6_rec_small.onnx")


@dataclass(frozen=True)
class TextRow:
    """One row of text in a picture.

    Args:
        text: what it says; empty where it was only located.
        score: confidence, 0 to 1.
        left: pixels.
        right: pixels.
        top: pixels.
        bottom: pixels.
        gaps: (left, right) of wide spaces in it, pixels. Chinese subtitles have them where a comma would be.
    """

    text: str
    score: float
    left: float
    right: float
    top: float
    bottom: float
    gaps: tuple[tuple[float, float], ...] = ()

    @property
    def height(self) -> float:
        """Pixels from top to bottom."""
        return self.bottom - self.top

    @property
    def middle(self) -> float:
        """Pixels from the picture's top to the row's middle."""
        return (self.top + self.bottom) / 2

    def moved(self, down: float) -> TextRow:
        """The same row in a picture whose origin lies `down` pixels higher."""
        return replace(self, top=self.top + down, bottom=self.bottom + down)


class TextReader:
    """Locates and reads rows of text. Loads its models on first use, once."""

    @property
    def info(self) -> EngineInfo:
        """Name, version of the wheel and licence of the weights."""
        try:
            revision = importlib.metadata.version("rapidocr")
        except importlib.metadata.PackageNotFoundError:
            revision = "missing"
        return EngineInfo("ocr", f"rapidocr {revision} PP-OCRv6 small", "Apache-2.0")

    def check(self) -> None:
        """Raises `UsageError` where the package, its weights or onnxruntime are missing."""
        if any(importlib.util.find_spec(name) is None for name in ("rapidocr", "onnxruntime", "cv2")):
            raise UsageError("burnt-in subtitles need rapidocr and onnxruntime: pip install 'cineforge_hf[ocr]'")
        spec = importlib.util.find_spec("rapidocr")
        folder = Path(spec.origin or "").parent / "models" if spec else Path()
        if not all((folder / name).is_file() for name in _WEIGHTS):
            # RapidOCR would fetch them from a server of its own, at a moment of its own choosing.
            raise UsageError("this rapidocr comes without its weights: pip install --force-reinstall 'rapidocr>=3.10'")

    def locate(self, image: Gray) -> list[TextRow]:
        """Rows of text without reading them, from top to bottom.

        Args:
            image: (height, width), about `WIDTH` pixels wide.
        """
        found = self._models(_three_channels(image), use_det=True, use_cls=False, use_rec=False)
        boxes = [] if found.boxes is None else [np.asarray(box, np.float32).reshape(-1, 2) for box in found.boxes]
        return _as_rows([_located(box) for box in boxes])

    def read(self, image: Gray, located: list[TextRow] | None = None) -> list[TextRow]:
        """Rows of text that are read with confidence, from top to bottom.

        Args:
            image: (height, width), about `WIDTH` pixels wide.
            located: its rows where `locate` has found them.
        """
        rows = self.locate(image) if located is None else located
        return [read for row in rows if (read := self._read_row(image, row)).score >= MIN_SCORE and read.text]

    def _read_row(self, image: Gray, row: TextRow) -> TextRow:
        top, bottom = max(0, int(row.top) - 2), int(row.bottom) + 3
        aside = MARGIN * row.height
        # A piece at a time: the models leave out the spaces between them.
        lefts = [row.left - aside, *((left + right) / 2 for left, right in row.gaps)]
        pieces = [
            self._models(
                _three_channels(image[top:bottom, max(0, int(left)) : int(right) + 1]), use_det=False, use_cls=False, use_rec=True
            )
            for left, right in zip(lefts, [*lefts[1:], row.right + aside], strict=True)
        ]
        texts = [text for piece in pieces for text in piece.txts or ()]
        scores = [float(score) for piece in pieces for score in piece.scores or ()]
        return replace(row, text=" ".join(text.strip() for text in texts).strip(), score=min(scores, default=0.0))

    @cached_property
    def _models(self) -> Any:
        self.check()
        import cv2
        from rapidocr import RapidOCR

        cv2.setNumThreads(1)
        return RapidOCR(
            params={
                "Global.use_cls": False,
                "Global.log_level": "error",
                "Det.limit_type": "max",
                "Det.limit_side_len": WIDTH,
                "EngineConfig.onnxruntime.enable_cpu_mem_arena": True,
                "EngineConfig.onnxruntime.intra_op_num_threads": 1,
                "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            }
        )


def _three_channels(image: Gray) -> Gray:
    return np.ascontiguousarray(np.repeat(image[:, :, None], 3, axis=2))


def _located(box: npt.NDArray[np.float32]) -> TextRow:
    (left, top), (right, bottom) = box.min(axis=0), box.max(axis=0)
    return TextRow("", 1.0, float(left), float(right), float(top), float(bottom))


def _as_rows(pieces: list[TextRow]) -> list[TextRow]:
    """Pieces at the same height that are not far from each other are one row."""
    rows: list[TextRow] = []
    for piece in sorted(pieces, key=lambda p: p.left):
        for i, row in enumerate(rows):
            height = min(piece.height, row.height)
            if abs(piece.middle - row.middle) < 0.5 * height and piece.left - row.right < SAME_ROW * height:
                top, bottom = min(piece.top, row.top), max(piece.bottom, row.bottom)
                wide = piece.left - row.right > GAP * height
                gaps = (*row.gaps, (row.right, piece.left)) if wide else row.gaps
                rows[i] = replace(row, right=max(row.right, piece.right), top=top, bottom=bottom, gaps=gaps)
                break
        else:
            rows.append(piece)
    return sorted(rows, key=lambda r: r.middle)
