"""The bundled film is what its truth files say; and the warp that opens a mouth does only that."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

import cineforge_hf

ASSETS = Path(cineforge_hf.__file__).parent / "assets"


@pytest.fixture(scope="module")
def truth() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((ASSETS / "sample_film.json").read_text(encoding="utf-8"))
    return loaded


@pytest.fixture(scope="module")
def sound() -> NDArray[np.float32]:
    """The film's sound as mono."""
    with av.open(str(ASSETS / "sample_film.mp4")) as film:
        pieces = [frame.to_ndarray() for frame in film.decode(audio=0)]
    return np.asarray(np.concatenate(pieces, axis=1).mean(axis=0), np.float32)


def _speaks(truth: dict[str, Any], who: str, margin: float) -> NDArray[np.bool_]:
    """Per frame: does its middle lie in this character's speech, widened by `margin` seconds?"""
    middle = (np.arange(truth["frames"]) + 0.5) / truth["fps"]
    spans = [(cue["start"], cue["end"]) for cue in truth["cues"] if cue["speaker"] == who]
    inside = [(middle > start - margin) & (middle < end + margin) for start, end in spans]
    return np.asarray(np.any(inside, axis=0), np.bool_)


def test_the_film_is_24_fps_48_khz_stereo_and_small(truth: dict[str, Any]) -> None:
    with av.open(str(ASSETS / "sample_film.mp4")) as film:
        picture, audio = film.streams.video[0], film.streams.audio[0]
        assert picture.average_rate == 24
        assert (picture.codec_context.name, picture.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (picture.width, picture.height) == (truth["width"], truth["height"])
        assert (audio.codec_context.name, audio.rate, audio.layout.name) == ("aac", 48_000, "stereo")
        stamps = sorted(packet.pts * packet.time_base for packet in film.demux(picture) if packet.pts is not None)
    assert [stamp * 24 for stamp in stamps] == list(range(truth["frames"]))
    assert 40 <= truth["frames"] / 24 == truth["duration"] <= 50
    assert sum(file.stat().st_size for file in ASSETS.glob("sample_film*")) <= 3 * 2**20


def test_cues_are_sentences_of_two_to_six_seconds_with_pauses(truth: dict[str, Any]) -> None:
    cues = truth["cues"]
    assert {cue["lang"] for cue in cues} == {"zh", "en"}
    assert {cue["scene_type"] for cue in cues} == {"narration", "monologue", "dialogue"}
    for cue in cues:
        assert 2.0 <= cue["end"] - cue["start"] <= 6.0
        assert cue["text"][-1] in "。？！.?!"
    for cue, following in pairwise(cues):
        assert following["start"] - cue["end"] >= 0.4


def test_the_sidecar_holds_just_the_cues_that_are_not_burnt_in(truth: dict[str, Any]) -> None:
    text = (ASSETS / "sample_film.srt").read_text(encoding="utf-8")
    pattern = r"(\d+):(\d+):(\d+),(\d+) --> (\d+):(\d+):(\d+),(\d+)\n(.+)"
    read = []
    for *clock, line in re.findall(pattern, text):
        h, m, s, ms, h2, m2, s2, ms2 = map(int, clock)
        read.append((h * 3600 + m * 60 + s + ms / 1000, h2 * 3600 + m2 * 60 + s2 + ms2 / 1000, line))
    expected = [(cue["start"], cue["end"], cue["text"]) for cue in truth["cues"] if not cue["burnt_in"]]
    assert [line for *_, line in read] == [line for *_, line in expected]
    np.testing.assert_allclose([times[:2] for times in read], [times[:2] for times in expected], atol=6e-4)
    assert all(a[1] <= b[0] for a, b in pairwise(read))
    assert 0 < len(read) < len(truth["cues"])


def test_the_rttm_agrees_with_the_cues(truth: dict[str, Any]) -> None:
    rows = [line.split() for line in (ASSETS / "sample_film.rttm").read_text(encoding="utf-8").splitlines()]
    assert all(len(row) == 10 and row[0] == "SPEAKER" and row[1] == "sample_film" for row in rows)
    assert [row[7] for row in rows] == [cue["speaker"] for cue in truth["cues"]]
    times = [(float(row[3]), float(row[3]) + float(row[4])) for row in rows]
    np.testing.assert_allclose(times, [(cue["start"], cue["end"]) for cue in truth["cues"]], atol=1e-3)


def test_shots_and_scenes_tile_the_film(truth: dict[str, Any]) -> None:
    shots, scenes = truth["shots"], truth["scenes"]
    assert shots[0]["first_frame"] == 0
    assert shots[-1]["last_frame"] == truth["frames"] - 1
    assert all(a["last_frame"] + 1 == b["first_frame"] for a, b in pairwise(shots))
    assert [scene["end"] for scene in scenes[:-1]] == [scene["start"] for scene in scenes[1:]]
    assert {"card", "scenery", "single", "two_shot"} == {shot["kind"] for shot in shots}
    # The narrator is never seen, and whoever else speaks is.
    for cue in truth["cues"]:
        seen = [shot["characters"] for shot in shots if shot["start"] < cue["end"] and shot["end"] > cue["start"]]
        assert all((cue["speaker"] in people) if cue["on_screen"] else not people for people in seen)


def test_faces_are_large_and_inside_the_picture(truth: dict[str, Any]) -> None:
    for face in truth["faces"]:
        shot = truth["shots"][face["shot"]]
        assert face["first_frame"] == shot["first_frame"]
        assert len(face["boxes"]) == shot["last_frame"] - shot["first_frame"] + 1
        left, top, width, height = np.array(face["boxes"]).T
        assert height.min() >= 110
        assert left.min() >= 0
        assert top.min() >= 0
        assert (left + width).max() <= truth["width"]
        assert (top + height).max() <= truth["height"]


@pytest.mark.parametrize("who", ["a", "b"])
def test_a_mouth_moves_with_its_own_voice_and_no_other(truth: dict[str, Any], sound: NDArray[np.float32], who: str) -> None:
    opening = np.array(truth["mouth_opening"][who])
    assert opening.size == truth["frames"]
    assert opening[~_speaks(truth, who, 0.05)].max() == 0
    inside = _speaks(truth, who, 0.0)
    level = np.sqrt(np.mean(sound[: truth["frames"] * 2000].reshape(-1, 2000) ** 2, axis=1))
    assert np.corrcoef(opening[inside], level[inside])[0, 1] > 0.8
    assert np.percentile(opening[inside], 90) > 0.6


def test_speech_starts_and_ends_where_the_cues_say(truth: dict[str, Any], sound: NDArray[np.float32]) -> None:
    def level_db(start: float, end: float) -> float:
        piece = sound[round(start * 48_000) : round(end * 48_000)]
        return float(10 * np.log10(np.mean(piece**2) + 1e-12))

    for cue in truth["cues"]:
        inside = level_db(cue["start"], cue["end"])
        assert inside - level_db(cue["start"] - 0.15, cue["start"] - 0.01) > 10
        assert inside - level_db(cue["end"] + 0.01, cue["end"] + 0.15) > 10
        assert level_db(cue["start"], cue["start"] + 0.15) > level_db(cue["start"] - 0.15, cue["start"] - 0.01) + 3


def test_opening_a_mouth_darkens_it_and_nothing_moves_when_it_is_shut() -> None:
    cv2 = pytest.importorskip("cv2", reason="the film's maker needs the sample-film extra")
    skimage_data = pytest.importorskip("skimage.data", reason="the film's maker needs the sample-film extra")
    from cineforge_hf.dataset_scripts.sample_film import faces

    # The whole photograph rather than the cut-out bust: cutting takes seconds, and the mouth is the same.
    photo = skimage_data.astronaut()[: faces.CROP_HEIGHT, : faces.CROP_WIDTH].astype(np.float32) / 255
    photo = cv2.resize(photo, None, fx=faces.SCALE, fy=faces.SCALE, interpolation=cv2.INTER_LINEAR)
    portrait = faces.close_lips(np.dstack([photo, np.ones(photo.shape[:2], np.float32)]))
    np.testing.assert_allclose(faces.express(portrait, faces.Pose()), portrait.bust, atol=1e-6)

    mouth = (slice(270, 340), slice(400, 500))
    poses = [faces.Pose(opening=opening) for opening in (0.0, 0.3, 0.6, 1.0)]
    dark = [int((faces.express(portrait, pose)[mouth][..., :3].mean(axis=-1) < 0.2).sum()) for pose in poses]
    assert dark[0] < 20
    assert all(later > earlier + 30 for earlier, later in pairwise(dark))

    # Only the part that the face's muscles move changes, and its edge does not show.
    wide = faces.express(portrait, faces.Pose(opening=1.0, rounding=1.0, blink=1.0))
    rows, columns = faces._MOVING
    around = np.ones(wide.shape[:2], bool)
    around[rows.start + 2 : rows.stop - 2, columns.start + 2 : columns.stop - 2] = False
    np.testing.assert_allclose(wide[around], portrait.bust[around], atol=0.02)


def test_making_it_without_espeak_names_the_package_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for module in ("cv2", "PIL", "scipy", "skimage"):
        pytest.importorskip(module, reason="the film's maker needs the sample-film extra")
    from cineforge_hf.dataset_scripts.make_sample_film import make_sample_film
    from cineforge_hf.errors import UsageError

    monkeypatch.setenv("PATH", "")
    with pytest.raises(UsageError, match="apt-get install espeak-ng"):
        make_sample_film(tmp_path / "out")
    assert not (tmp_path / "out").exists()
