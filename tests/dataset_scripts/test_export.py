"""What `export` leaves on disk, as strangers read it: with `datasets` alone."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import soundfile
import yaml
from datasets import Audio, Dataset, Video, concatenate_datasets, get_dataset_config_names, load_dataset
from factories import CUES, cineforge, make_film, run_offline, tree_digest, write_srt
from fake_stages import InlineExecutor

from cineforge_hf.dataset_scripts import export as export_module
from cineforge_hf.dataset_scripts import parquet
from cineforge_hf.dataset_scripts.export import export_dataset
from cineforge_hf.dataset_scripts.validate import validate_dataset
from cineforge_hf.errors import UsageError
from cineforge_hf.media import read_sound
from cineforge_hf.runs.progress import Progress
from cineforge_hf.runs.store import Run


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads what another has cached."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def load(folder: Path, config: str = "default", **more: Any) -> Any:
    return load_dataset(str(folder), config, split="train", **more)


def do_export(output: Path, *runs: Path, overwrite: bool = False) -> export_module.ExportResult:
    return export_dataset([Run.open(run) for run in runs], output, InlineExecutor(), Progress(), overwrite)


def texts(data: Any) -> list[str]:
    return [row["text"] for row in data.remove_columns("audio")]


def test_it_opens_with_load_dataset_and_nothing_of_ours(dataset_once: Path) -> None:
    assert sorted(get_dataset_config_names(str(dataset_once))) == ["default", "rejected", "video"]
    data = load(dataset_once)
    assert isinstance(data, Dataset) and len(data) == 4
    assert isinstance(data.features["audio"], Audio)
    assert texts(data) == [t for _, _, t in CUES] + [f"Well, {t}" for _, _, t in CUES]
    assert data["accept"][:] == [True] * 4 and data["reject_reasons"][:] == [[]] * 4
    assert {p["stage"] for p in data[0]["provenance"]} == {"ingest", "transcribe", "segment", "check_text", "cot", "verify"}


def test_it_streams(dataset_once: Path) -> None:
    stream = load(dataset_once, streaming=True)
    assert [row["text"] for row in stream.remove_columns("audio")] == texts(load(dataset_once))
    only = load(dataset_once, streaming=True, columns=["clip_id", "text"])
    assert list(next(iter(only))) == ["clip_id", "text"]


def test_the_configs_join_side_by_side(dataset_once: Path) -> None:
    clips, pictures = load(dataset_once), load(dataset_once, "video")
    assert isinstance(pictures.features["video"], Video)
    both = (
        concatenate_datasets([clips, pictures], axis=1)
        .cast_column("video", Video(decode=False))
        .cast_column("audio", Audio(decode=False))
    )
    for row in both:
        assert row["video"]["path"] == f"{row['clip_id']}.mp4" and row["audio"]["path"] == f"{row['clip_id']}.flac"


def test_sound_decodes_to_the_very_samples_of_the_film(dataset_once: Path, films_once: Path) -> None:
    for row in load(dataset_once).cast_column("audio", Audio(decode=False)):
        samples, rate = soundfile.read(io.BytesIO(row["audio"]["bytes"]), dtype="int16", always_2d=True)
        assert (rate, len(samples)) == (16000, round(row["duration"] * rate))
        source = read_sound(films_once / row["source"], row["start"], row["end"], rate=None, mono=False)
        wanted = (source * 32768).round().clip(-32768, 32767).astype("int16").T
        assert (samples == wanted).all(), row["clip_id"]


def test_audio_and_video_columns_decode_with_datasets(dataset_once: Path) -> None:
    pytest.importorskip("torchcodec", reason="datasets decodes media with torchcodec")
    row = {**load(dataset_once)[1], **load(dataset_once, "video")[1]}
    assert abs(row["audio"].get_all_samples().duration_seconds - row["duration"]) < 1e-3
    assert abs(row["video"].metadata.num_frames / 25 - row["duration"]) < 0.05


def test_times_and_texts_are_those_of_the_subtitles(dataset_once: Path) -> None:
    for row, (start, end, _) in zip(load(dataset_once).remove_columns("audio"), [*CUES, *CUES], strict=True):
        assert abs(row["start"] - start) <= 0.15 and abs(row["end"] - end) <= 0.15
        assert row["duration"] == pytest.approx(row["end"] - row["start"])


def test_the_card_declares_what_is_there(dataset_once: Path) -> None:
    card = (dataset_once / "README.md").read_text(encoding="utf-8")
    head = yaml.safe_load(card.split("---\n")[1])
    assert [c["config_name"] for c in head["configs"]] == ["default", "video", "rejected"]
    assert [c["config_name"] for c in head["configs"] if c.get("default")] == ["default"]
    for config in head["configs"]:
        [files] = config["data_files"]
        assert files["split"] == "train" and list(dataset_once.glob(files["path"]))
    assert head["license"] == "other" and head["pretty_name"] == "cinedub-test"
    for said in (
        "4 clips",
        "4 accepted, 1 rejected",
        "too_short",
        "silero-vad",
        "not declared (4)",
        "offline",
        'load_dataset("cinedub-test"',
    ):
        assert said in card, said


def test_the_manifest_names_every_file_and_no_other(dataset_once: Path) -> None:
    manifest = json.loads((dataset_once / "cinedub.json").read_text())
    digests = tree_digest(dataset_once, leave_out=["cinedub.json"])
    assert {name: facts["sha256"] for name, facts in manifest["files"].items()} == digests
    assert (manifest["accepted"], manifest["rejected"]) == (4, 1)


def test_nothing_tells_where_it_was_made(dataset_once: Path, films_once: Path, finished_once: Path) -> None:
    for path in dataset_once.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        assert str(films_once).encode() not in content and str(finished_once).encode() not in content


def test_several_runs_become_one_dataset(finished_once: Path, tmp_path: Path) -> None:
    make_film(tmp_path / "more" / "three.mp4", seed=3, cues=[(0.5, 3.0, "Something new was said.")])
    assert run_offline(tmp_path / "more", tmp_path / "second").returncode == 0
    result = do_export(tmp_path / "d", finished_once, tmp_path / "second")
    assert (result.accepted, result.rejected) == (5, 1)
    assert [row["source"] for row in load(tmp_path / "d").remove_columns("audio")] == ["Alpha/one.mp4"] * 2 + [
        "Beta/two.mp4"
    ] * 2 + ["three.mp4"]
    [rejected] = load(tmp_path / "d", "rejected")
    assert (rejected["text"], rejected["accept"], rejected["reject_reasons"]) == ("Yes.", False, ["too_short"])
    assert "audio" not in rejected
    again = do_export(tmp_path / "e", finished_once, tmp_path / "second", finished_once)
    assert again.accepted == 5, "a film of two runs is in the dataset once"


def test_a_run_of_which_nothing_is_accepted_says_where_to_look(tmp_path: Path) -> None:
    make_film(tmp_path / "films" / "silent.mp4", audio=False, seconds=2)
    assert run_offline(tmp_path / "films", tmp_path / "run").returncode == 3
    with pytest.raises(UsageError, match=r"no clip is accepted; `cineforge status .*run --rejected` says why"):
        do_export(tmp_path / "d", tmp_path / "run")
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith((".d", "d"))] == []


def test_a_dataset_without_rejected_rows_declares_none(films: Path, tmp_path: Path) -> None:
    shutil.rmtree(films / "Beta")
    assert run_offline(films, tmp_path / "run").returncode == 0
    assert do_export(tmp_path / "d", tmp_path / "run").rejected == 0
    assert sorted(get_dataset_config_names(str(tmp_path / "d"))) == ["default", "video"]
    assert list(validate_dataset(tmp_path / "d")) == []


def test_an_export_that_is_up_to_date_writes_nothing(finished_once: Path, dataset: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in dataset.rglob("*")}
    assert do_export(dataset, finished_once).up_to_date
    assert {p: p.stat().st_mtime_ns for p in dataset.rglob("*")} == before


def test_what_is_there_is_replaced_only_when_asked(finished: Path, films_once: Path, dataset: Path) -> None:
    run_offline(films_once, finished, "--set", "segment.padding=0.3")
    before = tree_digest(dataset)
    with pytest.raises(UsageError, match="an earlier export is there; add --overwrite"):
        do_export(dataset, finished)
    assert tree_digest(dataset) == before
    assert not do_export(dataset, finished, overwrite=True).up_to_date
    assert tree_digest(dataset) != before and [p.name for p in dataset.parent.glob(".cinedub*")] == []


@pytest.mark.parametrize("what", ["folder", "file"])
def test_what_no_export_made_is_never_replaced(finished_once: Path, tmp_path: Path, what: str) -> None:
    target = tmp_path / "mine"
    if what == "folder":
        target.mkdir()
        (target / "thesis.txt").write_text("mine")
    else:
        target.write_text("mine")
    with pytest.raises(UsageError, match="something that no export made is there"):
        do_export(target, finished_once, overwrite=True)
    assert (target / "thesis.txt" if what == "folder" else target).read_text() == "mine"


def test_an_empty_folder_may_be_filled(finished_once: Path, dataset_once: Path, tmp_path: Path) -> None:
    (tmp_path / "cinedub-test").mkdir()
    do_export(tmp_path / "cinedub-test", finished_once)
    assert tree_digest(tmp_path / "cinedub-test") == tree_digest(dataset_once)


class DiedError(Exception):
    """Stands in for a kill."""


@pytest.mark.parametrize("step", ["_assemble", "_write_rejected", "write_card", "_hashes", "_publish", "rename"])
def test_an_interrupted_export_goes_on(finished_once: Path, dataset_once: Path, tmp_path: Path, step: str, monkeypatch) -> None:
    def die(*_: object) -> None:
        raise DiedError

    target = tmp_path / "cinedub-test"
    owner: Any = export_module if hasattr(export_module, step) else export_module._Export
    with monkeypatch.context() as patch:
        patch.setattr(Path if step == "rename" else owner, step, die)
        with pytest.raises(DiedError):
            do_export(target, finished_once)
    assert not target.exists()
    partial = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.suffix in {".flac", ".mp4", ".parquet"}}
    assert partial
    seen: list[str] = []
    monkeypatch.setattr("cineforge_hf.dataset_scripts.cutting.CutJob.cut", lambda *_: seen.append("cut"))
    do_export(target, finished_once)
    assert seen == [] and tree_digest(target) == tree_digest(dataset_once)
    assert not list(tmp_path.glob(".cinedub*"))


def test_what_an_export_of_other_rows_left_is_not_used(finished: Path, dataset_once: Path, tmp_path: Path, monkeypatch) -> None:
    target = tmp_path / "cinedub-test"
    with monkeypatch.context() as patch:
        patch.setattr(export_module, "_publish", lambda *_: None)
        do_export(target, finished)
    leftover = target.with_name(".cinedub-test.partial")
    manifest = json.loads((leftover / "cinedub.json").read_text())
    (leftover / "cinedub.json").write_text(json.dumps({**manifest, "fingerprint": "of other rows"}))
    (leftover / "data" / "default" / "train-00007-of-00009.parquet").write_bytes(b"stale")
    do_export(target, finished)
    assert tree_digest(target) == tree_digest(dataset_once)


def test_many_clips_become_many_files_and_row_groups_in_one_order(finished_once: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(export_module, "ROWS_PER_FILE", 3)
    monkeypatch.setattr(parquet, "ROW_GROUP_ROWS", 2)
    do_export(tmp_path / "d", finished_once)
    for config in ("default", "video"):
        files = sorted((tmp_path / "d" / "data" / config).glob("*"))
        assert [f.name for f in files] == ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"]
        assert [
            [pq.ParquetFile(f).metadata.row_group(i).num_rows for i in range(pq.ParquetFile(f).num_row_groups)] for f in files
        ] == [[2, 1], [1]]
    clips, pictures = load(tmp_path / "d"), load(tmp_path / "d", "video").cast_column("video", Video(decode=False))
    assert [row["video"]["path"][:-4] for row in pictures] == clips["clip_id"][:]


def test_row_groups_are_bounded_by_the_bytes_of_their_media(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(parquet, "ROW_GROUP_BYTES", 1000)
    features = parquet.published_features(["clip_id"])["video"]
    with parquet.RowGroupWriter(tmp_path / "v.parquet", features) as writer:
        for i in range(7):
            writer.write({"video": {"bytes": bytes(400), "path": f"{i}.mp4"}})
    file = pq.ParquetFile(tmp_path / "v.parquet")
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [3, 3, 1]


def test_a_film_that_is_gone_or_changed_is_said_before_anything_is_cut(films: Path, tmp_path: Path) -> None:
    assert run_offline(films, tmp_path / "run").returncode == 0
    film = films / "Alpha" / "one.mp4"
    moved = film.rename(tmp_path / "one.mp4")
    with pytest.raises(UsageError, match=r"one\.mp4: the film is gone; tell the run where it is"):
        do_export(tmp_path / "d", tmp_path / "run")
    make_film(film, seed=9)
    with pytest.raises(UsageError, match=r"one\.mp4: this file has changed since the run"):
        do_export(tmp_path / "d", tmp_path / "run")
    shutil.move(moved, film)
    film.touch()
    assert do_export(tmp_path / "d", tmp_path / "run").accepted == 4


def test_a_clip_that_cannot_be_cut_is_rejected_with_the_reason(finished_once: Path, tmp_path: Path, monkeypatch) -> None:
    import cineforge_hf.media as media
    from cineforge_hf.errors import MediaError

    cut_clip = media.cut_clip

    def fail_once(path: str, start: float, *more: Any, **named: Any) -> None:
        if start > 2 and "one.mp4" in path:
            raise MediaError("undecodable", f"{path}: cannot decode the picture; replace the file")
        cut_clip(path, start, *more, **named)

    monkeypatch.setattr(media, "cut_clip", fail_once)
    result = do_export(tmp_path / "d", finished_once)
    assert (result.accepted, result.rejected) == (3, 2)
    row, _ = load(tmp_path / "d", "rejected")
    assert row["reject_reasons"] == ["export:cut_failed"] and row["accept"] is False
    assert row["errors"][-1]["message"] == "Alpha/one.mp4: cannot decode the picture; replace the file"
    assert len(load(tmp_path / "d")) == len(load(tmp_path / "d", "video")) == 3


def test_the_command_says_how_to_open_it(finished_once: Path, dataset: Path, tmp_path: Path) -> None:
    done = cineforge("export", finished_once, "--output", dataset)
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        f"{dataset}: 4 clips accepted, 1 row rejected (up to date, nothing was written)",
        f'open it: load_dataset("{dataset}")',
    ]
    write_srt(tmp_path / "x.srt", CUES)
    unfinished = cineforge("export", tmp_path, "--output", dataset)
    assert (unfinished.returncode, unfinished.stderr) == (
        2,
        f"cineforge export: {tmp_path}: not a run; `cineforge run` makes one\n",
    )
