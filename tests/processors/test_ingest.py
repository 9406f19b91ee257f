from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from cineforge_hf import schema
from cineforge_hf.errors import UsageError
from cineforge_hf.media.subtitles import read_subtitles
from cineforge_hf.processors.ingest import Ingest

MakeFilm = Callable[..., Path]
MakeRow = Callable[..., dict[str, Any]]
SCAN = schema.columns_of("films")


def ingest(row: dict[str, Any], **settings: Any) -> dict[str, Any]:
    return Ingest(**settings).run([row])[0][0]


def test_facts_of_a_film(make_film: MakeFilm, film_row: MakeRow) -> None:
    row = ingest(film_row(source=str(make_film(seconds=4.0))), intro=1.0, outro=0.5)
    assert (row["width"], row["height"], row["fps"], row["is_vfr"]) == (64, 48, 25.0, False)
    assert row["film_duration"] == pytest.approx(4.0, abs=0.15)
    assert (row["trim_start"], row["trim_end"]) == (1.0, row["film_duration"] - 0.5)
    assert row["audio_stream"] == row["audio_streams"][0]["index"] == 1


def test_a_films_own_intro_wins(make_film: MakeFilm, film_row: MakeRow) -> None:
    row = ingest(film_row(source=str(make_film()), intro=0.0, outro=0.0), intro=1.0, outro=1.0)
    assert (row["trim_start"], row["trim_end"]) == (0.0, row["film_duration"])


@pytest.mark.parametrize(
    ("film", "settings", "code"),
    [
        ({"video": False}, {}, "no_video_stream"),
        ({"audio": False}, {}, "no_audio_stream"),
        ({"seconds": 0.5}, {}, "too_short"),
        ({"seconds": 3.0}, {"intro": 2.0, "outro": 2.0}, "too_short"),
    ],
)
def test_unusable_films(
    make_film: MakeFilm, film_row: MakeRow, film: dict[str, Any], settings: dict[str, Any], code: str
) -> None:
    path = make_film(**film)
    (error,) = ingest(film_row(source=str(path)), **settings)["errors"]
    assert (error["stage"], error["code"]) == ("ingest", code)
    assert str(path) in error["message"]
    assert "\n" not in error["message"]


def test_one_bad_film_among_good_ones_in_map(make_film: MakeFilm, film_row: MakeRow, tmp_path: Path) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"not a film at all")
    good = str(make_film())
    rows = [film_row(source=good), film_row(source=str(bad)), film_row(source=good, duplicate_of="feedfeedfeed")]
    data = Dataset.from_list([{n: row[n] for n in SCAN} for row in rows], features=schema.features(SCAN))
    out = data.map(Ingest(), batched=True, **Ingest().map_kwargs(data))
    assert out["width"][:] == [64, None, None]
    assert [len(errors) for errors in out["errors"]] == [0, 1, 0]
    assert out["reject_reasons"][:] == [[], [], ["duplicate"]]
    assert out.features["audio_streams"] == schema.features(["audio_streams"])["audio_streams"]


def test_films_that_the_scan_could_not_read_are_passed_over(film_row: MakeRow) -> None:
    assert ingest(film_row(source="nowhere.mp4", sha256=None)) == {}


def test_an_empty_dataset_stays_empty() -> None:
    data = Dataset.from_dict({name: [] for name in SCAN}, features=schema.features(SCAN))
    assert len(data.map(Ingest(), batched=True, **Ingest().map_kwargs(data))) == 0


def test_settings_are_checked() -> None:
    with pytest.raises(UsageError, match="intro"):
        Ingest(intro=-1).check()
    with pytest.raises(UsageError, match="lang"):
        Ingest(lang="fr").check()


def test_embedded_subtitles_come_out_on_the_films_clock(make_film: MakeFilm, film_row: MakeRow) -> None:
    srt = "1\n00:00:00,500 --> 00:00:01,500\nOne, <i>two</i>\nthree\n\n2\n00:00:02,000 --> 00:00:02,750\nFour.\n"
    path = make_film(srt=srt)
    (stream,) = ingest(film_row(source=str(path)))["subtitle_streams"]
    assert stream["text"]
    assert stream["language"] == "eng"
    first, second = read_subtitles(path, stream["index"])
    assert (first.start, first.end) == (pytest.approx(0.5, abs=0.01), pytest.approx(1.5, abs=0.01))
    assert first.text.replace("{\\i1}", "").replace("{\\i0}", "").replace("{\\i}", "") == "One, two\\Nthree"
    assert (second.start, second.end, second.text) == (pytest.approx(2.0, abs=0.01), pytest.approx(2.75, abs=0.01), "Four.")
