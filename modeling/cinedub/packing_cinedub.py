"""One record to the ids, types and tracks that the language model and the flow read. Pure functions on numpy arrays.

Times are seconds; the grid is 25 Hz. The prompt is SOS, one position per row of the face track, the text, the scene type,
five ids per turn (start, speaker, gender, age, end) and TURN; the time/speaker table holds them at fixed offsets.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cineforge_hf.errors import UsageError

MAX_SECONDS = 60.0
UNKNOWN = -100

# Offsets behind the last time id.
_SCENES = {"narration": 0, "旁白": 0, "monologue": 1, "独白": 1, "dialogue": 2, "对话": 2, "multi": 3, "多人": 3}
_GENDERS = {"male": 4, "男": 4, "female": 5, "女": 5}
_AGES = {
    "child": 6,
    "儿童": 6,
    "teenager": 7,
    "青年": 7,
    "adult": 8,
    "中年": 8,
    "middle-aged": 9,
    "中老年": 9,
    "elderly": 10,
    "老年": 10,
}
_SPEAKERS = 11

Turn = Mapping[str, Any]


@dataclass(frozen=True)
class Grid:
    """Sizes of the tables that a record is packed for.

    Args:
        token_rate: positions per second.
        time_vocab_size: ids of times.
        timespk_vocab_size: rows of the time/speaker table.
        face_size: size of a face embedding.
        face_hold: positions for which a face is held.
    """

    token_rate: int = 25
    time_vocab_size: int = 1500
    timespk_vocab_size: int = 1550
    face_size: int = 512
    face_hold: int = 5

    @property
    def max_speakers(self) -> int:
        """Speakers that the table has rows for."""
        return self.timespk_vocab_size - self.time_vocab_size - _SPEAKERS

    def frames(self, seconds: float) -> int:
        """Positions of a clip.

        Raises:
            UsageError: the clip has no length or is longer than 60 s.
        """
        if not 0 < seconds <= MAX_SECONDS:
            raise UsageError(
                f"a clip of {seconds:g} s cannot be dubbed in one piece; the limit is {MAX_SECONDS:g} s, cut it first"
            )
        return max(1, round(seconds * self.token_rate))

    def time_id(self, seconds: float) -> int:
        """The id of a time; the last half token before 60 s shares the last id."""
        return min(int(seconds * self.token_rate + 1), self.time_vocab_size)

    def scene_id(self, scene: str | None) -> int:
        """The id of a scene type; unknown ones count as narration, as in the released model."""
        return self.time_vocab_size + _SCENES.get(scene or "", 0)


def speaker_numbers(turns: Sequence[Turn]) -> dict[str, int]:
    """Numbers the speakers from 1: by their own number where all have one, else in order of appearance."""
    names = list(dict.fromkeys(str(turn.get("speaker") or "1") for turn in turns))
    if all(name.isdecimal() and int(name) >= 1 for name in names):
        return {name: int(name) for name in names}
    return {name: number for number, name in enumerate(names, start=1)}


def turn_ids(turns: Sequence[Turn], grid: Grid) -> list[int]:
    """Five ids per turn: start, speaker, gender, age, end.

    Args:
        turns: each with `start` and `duration` in seconds, and `speaker`, `gender`, `age` where known.
        grid: the tables.

    Returns:
        The ids; `UNKNOWN` for an unknown gender or age.

    Raises:
        UsageError: too many speakers.
    """
    numbers = speaker_numbers(turns)
    if (highest := max(numbers.values(), default=0)) > grid.max_speakers:
        raise UsageError(f"{highest} speakers in one clip; the model knows {grid.max_speakers}")
    ids: list[int] = []
    for turn in turns:
        start = float(turn["start"])
        gender, age = _GENDERS.get(turn.get("gender") or ""), _AGES.get(turn.get("age") or "")
        ids += [
            grid.time_id(start),
            grid.time_vocab_size + _SPEAKERS + numbers[str(turn.get("speaker") or "1")] - 1,
            UNKNOWN if gender is None else grid.time_vocab_size + gender,
            UNKNOWN if age is None else grid.time_vocab_size + age,
            grid.time_id(start + float(turn["duration"])),
        ]
    return ids


def check_turns(turns: Sequence[Turn], seconds: float, grid: Grid) -> None:
    """Refuses turns that do not fit the clip. Turns may overlap.

    Raises:
        UsageError: a turn begins before the clip, has no length or ends more than one position after the clip.
    """
    for number, turn in enumerate(turns, start=1):
        try:
            start, length = float(turn["start"]), float(turn["duration"])
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"turn {number} needs start and duration in seconds: {dict(turn)}") from error
        if not (math.isfinite(start) and math.isfinite(length)) or start < 0 or length <= 0:
            raise UsageError(f"turn {number} starts at {start:g} s and lasts {length:g} s; both must be in the clip")
        if start + length > seconds + 1 / grid.token_rate:
            raise UsageError(f"turn {number} ends at {start + length:g} s, after the clip's end at {seconds:g} s")


def voice_frames(turns: Sequence[Turn], voices: Sequence[str], frames: int, grid: Grid) -> npt.NDArray[np.int64]:
    """Which voice speaks at each position: that of the turn which began last, and before the first turn the first one's.

    Args:
        turns: with `start` and `speaker`.
        voices: names of the voices; the result indexes them.
        frames: positions of the clip.
        grid: the tables.

    Returns:
        (frames).

    Raises:
        UsageError: a speaker has no voice.
    """
    track = np.zeros(frames, dtype=np.int64)
    for i, turn in enumerate(sorted(turns, key=lambda t: float(t["start"]))):
        name = str(turn.get("speaker") or "1")
        if name not in voices:
            raise UsageError(f"speaker {name!r} has no voice; voices were given for {', '.join(map(repr, voices)) or 'nobody'}")
        begin = round(float(turn["start"]) * grid.token_rate) if i else 0
        track[begin:] = voices.index(name)
    return track


def face_track(times: npt.ArrayLike | None, embeddings: npt.ArrayLike | None, frames: int, grid: Grid) -> npt.NDArray[np.float32]:
    """Spreads face embeddings over the grid by their times; each is held for `face_hold` positions, later ones win.

    Args:
        times: seconds from the start of the clip, (faces); those outside the clip are ignored.
        embeddings: (faces, face_size), not normalised.
        frames: positions of the clip.
        grid: the tables.

    Returns:
        (frames, face_size), zeros where no face is.

    Raises:
        UsageError: the arrays do not fit together.
    """
    track = np.zeros((frames, grid.face_size), dtype=np.float32)
    if times is None or embeddings is None:
        return track
    moments = np.asarray(times, dtype=np.float64).reshape(-1)
    faces = np.asarray(embeddings, dtype=np.float32).reshape(len(moments), -1) if len(moments) else track[:0]
    if faces.shape[1] != grid.face_size:
        raise UsageError(f"face embeddings have {faces.shape[1]} values, the model takes {grid.face_size}")
    for position, face in zip(np.round(moments * grid.token_rate).astype(int), faces, strict=True):
        if 0 <= position < frames:
            track[position : position + grid.face_hold] = face
    return track


@dataclass(frozen=True)
class Packed:
    """A packed record.

    Args:
        ids: (positions).
        types: their token types, (positions).
        labels: codec ids to learn and -100 elsewhere, (positions); None without speech tokens.
    """

    ids: npt.NDArray[np.int64]
    types: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64] | None


def pack(
    text_ids: Sequence[int],
    scene_id: int,
    timespk_ids: Sequence[int],
    frames: int,
    *,
    sos: int,
    eos: int,
    turn: int,
    speech_tokens: Sequence[int] | None = None,
) -> Packed:
    """Puts a record into one sequence.

    Args:
        text_ids: ids of clue and text.
        scene_id: id of the scene type.
        timespk_ids: ids of the turns.
        frames: positions of the face track.
        sos: id that starts it.
        eos: id that ends the speech.
        turn: id that the speech follows.
        speech_tokens: the speech, for training.

    Returns:
        The sequence; labels where speech tokens were given.
    """
    speech = [] if speech_tokens is None else [*speech_tokens, eos]
    ids = [sos, *[0] * frames, *text_ids, scene_id, *timespk_ids, turn, *speech]
    types = [2, *[3] * frames, *[0] * len(text_ids), *[1] * (1 + len(timespk_ids)), *[2] * (1 + len(speech))]
    labels = None
    if speech_tokens is not None:
        labels = np.array([-100] * (len(ids) - len(speech)) + speech, dtype=np.int64)
    return Packed(np.array(ids, dtype=np.int64), np.array(types, dtype=np.int64), labels)
