"""The subtitle engine, voice activity, and `Transcribe` on whole films."""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pysubs2
import pytest
from datasets import Dataset

from cineforge_hf import schema
from cineforge_hf.errors import RowError, UsageError
from cineforge_hf.processors.engines.transcribe.subtitles import SubtitleEngine
from cineforge_hf.processors.engines.vad.silero import SileroVAD, finest_spans, speech_spans
from cineforge_hf.processors.ingest import Ingest
from cineforge_hf.processors.segment import SegmentClips
from cineforge_hf.processors.transcribe import Transcribe

MakeFilm = Callable[..., Path]
MakeRow = Callable[..., dict[str, Any]]
NTSC = 24000 / 1001

needs_vad = pytest.mark.skipif(
    importlib.util.find_spec("silero_vad") is None or importlib.util.find_spec("onnxruntime") is None,
    reason="needs the vad extra",
)


def srt(*texts: str) -> str:
    return "\n".join(f"{i}\n00:00:{i:02},000 --> 00:00:{i:02},900\n{text}\n" for i, text in enumerate(texts, 1))


def sidecars(folder: Path, **contents: str) -> list[dict[str, str]]:
    made = []
    for name, content in contents.items():
        path = folder / ("film" + ("" if name == "plain" else f".{name}") + ".srt")
        path.write_text(content, encoding="utf-8")
        made.append({"path": str(path), "sha256": "00"})
    return made


def decoded_once(row: dict[str, Any]) -> Transcribe:
    """The stage, with the voice activity of this film found once for all calls."""
    stage = Transcribe()
    voice = stage._voice(row)
    stage._voice = lambda _: voice  # type: ignore[method-assign]
    return stage


def write_moved(right: pysubs2.SSAFile, path: Path, rate: float, offset: float) -> dict[str, str]:
    """A sidecar whose times are rate * time + offset."""
    moved = pysubs2.SSAFile()
    moved.events = [
        pysubs2.SSAEvent(round(rate * e.start + 1000 * offset), round(rate * e.end + 1000 * offset), e.text) for e in right
    ]
    moved.save(str(path))
    return {"path": str(path), "sha256": "00"}


ENGLISH, CHINESE, FRENCH = srt("Good morning.", "Come in."), srt("早上好。", "请进。"), srt("Bonjour.", "Entrez.")
RUSSIAN, JAPANESE = srt("Доброе утро.", "Войдите."), srt("おはようございます。", "どうぞお入りください。")
LONG_FRENCH = srt(*["Je ne sais pas ce que vous voulez dire, mais il faut partir."] * 8)


@pytest.mark.parametrize(
    ("lang", "files", "source"),
    [
        ("en", {"plain": ENGLISH}, "film.srt"),
        ("auto", {"plain": CHINESE}, "film.srt"),
        ("zh", {"en": ENGLISH, "zh": CHINESE}, "film.zh.srt"),
        ("en", {"chs": CHINESE, "eng": ENGLISH}, "film.eng.srt"),
        ("zh", {"plain": ENGLISH, "x": CHINESE}, "film.x.srt"),
        ("en", {"fr": FRENCH, "plain": ENGLISH}, "film.srt"),
    ],
)
def test_the_wanted_language_is_chosen(tmp_path: Path, film_row: MakeRow, lang: str, files: dict[str, str], source: str) -> None:
    row = film_row(source=str(tmp_path / "film.mp4"), subtitles=sidecars(tmp_path, **files))
    assert SubtitleEngine().transcribe(row, lang).source == source


@pytest.mark.parametrize(
    ("lang", "files", "code", "says"),
    [
        ("zh", {"plain": ENGLISH}, "subtitle_language", "English"),
        ("en", {"plain": CHINESE}, "subtitle_language", "Chinese"),
        ("en", {"fr": FRENCH}, "subtitle_language", "another language"),
        ("en", {"plain": RUSSIAN}, "subtitle_language", "another language"),
        ("zh", {"plain": JAPANESE}, "subtitle_language", "another language"),
        ("en", {"plain": LONG_FRENCH}, "subtitle_language", "another language"),
        ("auto", {"plain": RUSSIAN}, "subtitle_language", "another language"),
        ("en", {"plain": ""}, "no_cues", "film.srt"),
        ("en", {"plain": srt("[door slams]", "♪ la ♪")}, "no_cues", "film.srt"),
        ("zh", {}, "no_subtitles", "film.zh.srt"),
        ("auto", {}, "no_subtitles", "film.srt"),
    ],
)
def test_what_cannot_be_used_says_why(
    tmp_path: Path, film_row: MakeRow, lang: str, files: dict[str, str], code: str, says: str
) -> None:
    row = film_row(source=str(tmp_path / "film.mp4"), subtitles=sidecars(tmp_path, **files))
    with pytest.raises(RowError) as caught:
        SubtitleEngine().transcribe(row, lang)
    assert caught.value.code == code
    assert says in caught.value.message
    assert "\n" not in caught.value.message


def test_a_title_is_no_language(tmp_path: Path, film_row: MakeRow) -> None:
    path = tmp_path / "No.srt"
    path.write_text(ENGLISH, encoding="utf-8")
    row = film_row(source=str(tmp_path / "film.mp4"), subtitles=[{"path": str(path), "sha256": "00"}])
    assert SubtitleEngine().transcribe(row, "en").source == "No.srt"


def test_pictures_of_text_are_named(film_row: MakeRow) -> None:
    stream = {"index": 2, "codec": "hdmv_pgs_subtitle", "language": "eng", "title": None, "text": False}
    with pytest.raises(RowError, match="pictures of text"):
        SubtitleEngine().transcribe(film_row(source="film.mkv", subtitle_streams=[stream]), "en")


def test_a_bilingual_file_gives_one_language(tmp_path: Path, film_row: MakeRow) -> None:
    files = sidecars(tmp_path, plain=srt("早上好。\nGood morning.", "请进。\nCome in."))
    row = film_row(source=str(tmp_path / "film.mp4"), subtitles=files)
    assert [c.text for c in SubtitleEngine().transcribe(row, "zh").cues] == ["早上好。", "请进。"]
    assert [c.text for c in SubtitleEngine().transcribe(row, "en").cues] == ["Good morning.", "Come in."]


def test_embedded_text_is_used_without_a_sidecar(make_film: MakeFilm, film_row: MakeRow) -> None:
    path = make_film(srt=ENGLISH)
    row = film_row(source=str(path))
    row.update(Ingest().run([row])[0][0])
    transcript = SubtitleEngine().transcribe(row, "en")
    assert [c.text for c in transcript.cues] == ["Good morning.", "Come in."]
    assert transcript.source == "subtitle stream 2 (eng)"


def test_settings_are_checked() -> None:
    with pytest.raises(UsageError, match="choose auto, subtitles"):
        Transcribe(engine="whisper").check()
    with pytest.raises(UsageError, match="lang"):
        Transcribe(lang="fr").check()


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SileroVAD, "_weights", staticmethod(lambda: None))
    with pytest.raises(UsageError, match=r"pip install 'cineforge_hf\[vad\]'"):
        Transcribe().check()


def test_spans_keep_hysteresis_and_drop_clicks() -> None:
    p = np.array([0, 0.9, 0.9, 0.9, 0.4, 0.9, 0.9, 0.9, 0.9, 0.1, 0.1, 0.1, 0.1, 0.1, 0.9, 0, 0, 0, 0, 0], np.float32)
    assert [(round(a, 3), round(b, 3)) for a, b in speech_spans(p)] == [(0.002, 0.318)]
    assert [(round(a, 3), round(b, 3)) for a, b in finest_spans(p)] == [(0.16, 0.288)]
    assert speech_spans(np.zeros(0, np.float32)) == []


@needs_vad
def test_probabilities_do_not_depend_on_the_blocks() -> None:
    sound = np.random.default_rng(0).normal(0, 0.05, 16000 * 20).astype(np.float32)
    whole = np.concatenate(list(SileroVAD().probabilities([sound])))
    pieces = np.concatenate(list(SileroVAD().probabilities(sound[None, i : i + 7777] for i in range(0, len(sound), 7777))))
    assert len(whole) == -(-len(sound) // 512)
    assert np.array_equal(whole, pieces)


@needs_vad
def test_voice_activity_never_imports_torch() -> None:
    code = (
        "import sys, numpy as np; from cineforge_hf.processors.engines.vad.silero import SileroVAD;"
        "list(SileroVAD().probabilities([np.zeros(16000, np.float32)])); sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@needs_vad
def test_in_map_with_one_bad_film(sample_film: Path, make_film: MakeFilm, film_row: MakeRow) -> None:
    subtitles = [{"path": str(sample_film.with_suffix(".srt")), "sha256": "00"}]
    rows = [film_row(source=str(sample_film), subtitles=subtitles), film_row(source=str(make_film()))]
    names = schema.columns_of("films")
    data = Dataset.from_list([{n: row[n] for n in names} for row in rows], features=schema.features(names))
    for stage in (Ingest(), Transcribe()):
        data = data.map(stage, batched=True, **stage.map_kwargs(data))
    good, bad = data[0], data[1]
    written = [e.plaintext.replace("\n", " ") for e in pysubs2.load(str(sample_film.with_suffix(".srt")))]
    assert [cue["text"] for cue in good["cues"]] == written
    assert (good["subtitle_offset"], good["subtitle_rate"]) == (0.0, 1.0)
    assert [error["code"] for error in bad["errors"]] == ["no_subtitles"]
    assert bad["cues"] is None


@needs_vad
def test_wrong_sidecars_of_the_sample_are_put_right(sample_film: Path, tmp_path: Path, film_row: MakeRow) -> None:
    right = pysubs2.load(str(sample_film.with_suffix(".srt")))
    truth = np.array([(e.start, e.end) for e in right]) / 1000
    row = film_row(source=str(sample_film))
    row.update(Ingest().run([row])[0][0])
    stage = decoded_once(row)
    for rate, offset in ((1.0, 3.7), (1.0, -3.7), (25 / NTSC, 3.7), (NTSC / 25, -3.7)):
        row["subtitles"] = [write_moved(right, tmp_path / "wrong.srt", rate, offset)]
        ((found,),) = stage.run([row])
        assert np.abs(np.array([(c["start"], c["end"]) for c in found["cues"]]) - truth).max() < 0.3


@needs_vad
@pytest.mark.slow  # Encoding the film takes most of a minute.
def test_real_clips_joined_to_a_film(clips_folder: Path, tmp_path: Path, film_row: MakeRow) -> None:
    """The right subtitle stays untouched; wrong ones give clips within 0.3 s of the truth, most within 0.15 s."""
    if subprocess.run(["ffmpeg", "-version"], capture_output=True, check=False).returncode:
        pytest.skip("needs the ffmpeg command to join the clips")
    subprocess.run([sys.executable, str(clips_folder / "make_film.py"), str(tmp_path)], check=True, capture_output=True)
    film, right = tmp_path / "film.mp4", pysubs2.load(str(tmp_path / "film.srt"))
    truth = [json.loads(line) for line in (tmp_path / "film.jsonl").read_text(encoding="utf-8").splitlines()]
    edges = np.array([(t["turns"][0]["start"], t["turns"][-1]["start"] + t["turns"][-1]["duration"]) for t in truth])
    row = film_row(source=str(film))
    row.update(Ingest(intro=10, outro=10).run([row])[0][0])
    stage, worst = decoded_once(row), []
    for rate, offset in product((1.0, 25 / NTSC, NTSC / 25), (0.0, 3.7, -3.7)):
        row["subtitles"] = [write_moved(right, tmp_path / "moved.srt", rate, offset)]
        ((found,),) = stage.run([row])
        if (rate, offset) == (1.0, 0.0):
            assert (found["subtitle_rate"], found["subtitle_offset"]) == (1.0, 0.0)
        (clips,) = SegmentClips().run([{**row, **found}])
        assert [clip["asr_text"] for clip in clips] == [t["text"] for t in truth]
        worst.append(float(np.abs(np.array([(clip["start"], clip["end"]) for clip in clips]) - edges).max()))
    assert worst[0] <= 0.15
    assert max(worst) < 0.3
    assert np.median(worst) < 0.2
