"""What is true of the sample film, written as JSON, SRT and RTTM."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cineforge_hf.dataset_scripts.sample_film.camera import Box
from cineforge_hf.dataset_scripts.sample_film.script import FPS, HEIGHT, SAMPLE_RATE, SCENES, SPEAKERS, WIDTH, Cue, Timeline

_KINDS = {"title": "card", "end": "card", "launch": "scenery", "sunrise": "scenery", "a": "single", "b": "single"}


def write_truth(
    stem: Path, timeline: Timeline, mouths: dict[str, NDArray[np.float64]], boxes: list[dict[str, Box]], speech_to_bed_db: float
) -> None:
    """Write `<stem>.json`, `<stem>.srt` (the cues that are not burnt into the picture) and `<stem>.rttm`."""
    cues = [_cue(cue) for cue in timeline.cues]
    truth: dict[str, Any] = {
        "film": f"{stem.name}.mp4",
        "fps": FPS,
        "frames": timeline.frames,
        "duration": timeline.frames / FPS,
        "width": WIDTH,
        "height": HEIGHT,
        "sample_rate": SAMPLE_RATE,
        "speech_to_bed_db": speech_to_bed_db,
        "speakers": {
            name: {"name": who.name, "gender": who.gender, "age": who.age, "on_screen": who.on_screen}
            for name, who in SPEAKERS.items()
        },
        "cues": cues,
        "turns": _turns(timeline),
        "scenes": _scenes(timeline),
        "shots": [
            {
                "start": round(shot.first / FPS, 4),
                "end": round(shot.last / FPS, 4),
                "first_frame": shot.first,
                "last_frame": shot.last - 1,
                "kind": _KINDS.get(shot.view, "two_shot"),
                "characters": sorted(boxes[shot.first]),
            }
            for shot in timeline.shots
        ],
        "faces": _faces(timeline, boxes),
        "mouth_opening": {name: [round(float(value), 3) for value in curve] for name, curve in mouths.items()},
    }
    stem.with_suffix(".json").write_text(_compact(truth), encoding="utf-8")
    sidecar = [cue for cue in timeline.cues if not SCENES[cue.scene].burnt_in]
    blocks = [f"{i}\n{_clock(cue.start)} --> {_clock(cue.end)}\n{cue.line.text}\n" for i, cue in enumerate(sidecar, 1)]
    stem.with_suffix(".srt").write_text("\n".join(blocks), encoding="utf-8")
    rttm = [
        f"SPEAKER {stem.name} 1 {cue.start:.3f} {cue.end - cue.start:.3f} <NA> <NA> {cue.line.speaker} <NA> <NA>\n"
        for cue in timeline.cues
    ]
    stem.with_suffix(".rttm").write_text("".join(rttm), encoding="utf-8")


def _cue(cue: Cue) -> dict[str, Any]:
    scene, who = SCENES[cue.scene], SPEAKERS[cue.line.speaker]
    return {
        "start": cue.start,
        "end": cue.end,
        "text": cue.line.text,
        "lang": scene.lang,
        "speaker": cue.line.speaker,
        "gender": who.gender,
        "age": who.age,
        "on_screen": who.on_screen,
        "burnt_in": scene.burnt_in,
        "scene_type": scene.scene_type,
        "scene": cue.scene,
    }


def _turns(timeline: Timeline) -> list[dict[str, Any]]:
    """Cues of one speaker that follow each other within a scene, joined."""
    turns: list[dict[str, Any]] = []
    last: Cue | None = None
    for cue in timeline.cues:
        if last and (last.line.speaker, last.scene) == (cue.line.speaker, cue.scene):
            turns[-1]["duration"] = round(cue.end - turns[-1]["start"], 3)
        else:
            turn = {
                "start": cue.start,
                "duration": round(cue.end - cue.start, 3),
                "speaker": cue.line.speaker,
                "scene": cue.scene,
            }
            turns.append(turn)
        last = cue
    return turns


def _scenes(timeline: Timeline) -> list[dict[str, Any]]:
    scenes = []
    for number, scene in enumerate(SCENES):
        shots = [shot for shot in timeline.shots if shot.scene == number]
        start, end = round(shots[0].first / FPS, 4), round(shots[-1].last / FPS, 4)
        kind = {"scene_type": scene.scene_type, "lang": scene.lang, "burnt_in": scene.burnt_in}
        scenes.append({"start": start, "end": end, **kind})
    return scenes


def _faces(timeline: Timeline, boxes: list[dict[str, Box]]) -> list[dict[str, Any]]:
    """One entry per shot and character: [left, top, width, height] in pixels per frame, and the frames in which it speaks."""
    entries = []
    for index, shot in enumerate(timeline.shots):
        for character in sorted(boxes[shot.first]):
            spans = [
                [max(int(np.ceil(cue.start * FPS - 0.5)), shot.first), min(int(np.ceil(cue.end * FPS - 0.5)), shot.last) - 1]
                for cue in timeline.cues
                if cue.line.speaker == character and cue.start < shot.last / FPS and cue.end > shot.first / FPS
            ]
            tracks = [[round(value) for value in boxes[i][character]] for i in range(shot.first, shot.last)]
            entries.append(
                {"shot": index, "character": character, "first_frame": shot.first, "speaking_frames": spans, "boxes": tracks}
            )
    return entries


def _compact(truth: dict[str, Any]) -> str:
    """JSON with one line per top-level item or list element: small, and readable in a diff."""
    parts = []
    for key, value in truth.items():
        if isinstance(value, list):
            inside = ",\n".join(json.dumps(item, ensure_ascii=False, separators=(",", ":")) for item in value)
            parts.append(f'"{key}":[\n{inside}\n]')
        elif isinstance(value, dict):
            inside = ",\n".join(f'"{k}":{json.dumps(v, ensure_ascii=False, separators=(",", ":"))}' for k, v in value.items())
            parts.append(f'"{key}":{{\n{inside}\n}}')
        else:
            parts.append(f'"{key}":{json.dumps(value)}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _clock(seconds: float) -> str:
    """SRT time: hours, minutes, seconds and milliseconds."""
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02},{rest % 1000:03}"
