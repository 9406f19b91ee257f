from itertools import pairwise
from typing import Any

import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from cineforge_hf import schema
from cineforge_hf.errors import UsageError
from cineforge_hf.processors.boundaries import GRID, clip_end, clip_start, on_grid
from cineforge_hf.processors.segment import SegmentClips

Row = dict[str, Any]


def cue(start: float, end: float, text: str) -> Row:
    return {"start": start, "end": end, "text": text, "engine": "subtitles"}


def film(*cues: Row, **columns: Any) -> Row:
    return {"film_id": "0123456789ab", "cues": list(cues), "trim_start": 0.0, "trim_end": 100.0, **columns}


def clips(row: Row, **settings: Any) -> list[Row]:
    return SegmentClips(**settings).run([row])[0]


def test_a_clip_keeps_padding_up_to_the_middle_of_the_pause() -> None:
    first, second = clips(film(cue(1, 4, "One."), cue(4.1, 8, "Two.")))
    assert (first["start"], first["end"], second["start"], second["end"]) == (0.92, 4.04, 4.04, 8.12)
    assert first["clip_id"] == "0123456789ab-0000092-0000404"
    assert first["clip_cues"] == [{"start": 0.08, "end": 3.08, "text": "One.", "engine": "subtitles"}]


def test_running_speech_carries_a_boundary_a_little() -> None:
    speech = [{"start": 0.5, "end": 4.5}]
    (clip,) = clips(film(cue(1, 4, "One."), speech=speech))
    assert (clip["start"], clip["end"]) == (0.88, 4.12)
    assert clip["clip_speech"] == [{"start": 0.0, "end": 3.24}]


def test_the_trim_holds() -> None:
    (clip,) = clips(film(cue(10.0, 20.0, "One."), trim_start=10.01, trim_end=19.99))
    assert (clip["start"], clip["end"]) == (10.04, 19.96)


def test_too_short_and_too_long_are_rows_with_a_reason() -> None:
    rows = clips(film(cue(1, 1.5, "Yes."), cue(10, 80, "Long.")))
    assert [row["reject_reasons"] for row in rows] == [["too_short"], ["too_long"]]


def test_a_film_without_cues_is_a_row_error() -> None:
    (row,) = clips(film(title="Nobody"))
    assert row["errors"][0]["code"] == "no_speech"
    assert "Nobody" in row["errors"][0]["message"]


def test_words_make_sentences_where_they_are_known() -> None:
    words = [cue(1, 1.4, "I"), cue(1.4, 2, "saw"), cue(2, 2.5, "Mr."), cue(2.5, 4, "Smith."), cue(4.2, 7, "Gone.")]
    first, second = clips(film(cue(1, 7, "I saw Mr. Smith. Gone."), film_words=words))
    assert (first["asr_text"], second["asr_text"]) == ("I saw Mr. Smith.", "Gone.")
    assert [w["text"] for w in first["words"]] == ["I", "saw", "Mr.", "Smith."]


def test_alone_in_map_it_explodes_and_keeps_what_is_carried() -> None:
    rows = [film(cue(1, 4, "One."), cue(4.1, 8, "Two."), lang="en", subtitle_match=0.4), film(lang="en", subtitle_match=0.9)]
    rows[0]["reject_reasons"], rows[1]["reject_reasons"] = ["weak_subtitle_match"], []
    names = [*rows[0]]
    data = Dataset.from_list(rows, features=schema.features(names))
    segment = SegmentClips()
    out = data.map(segment, batched=True, **segment.map_kwargs(data))
    assert out["asr_text"][:] == ["One.", "Two.", None]
    assert out["lang"][:] == ["en"] * 3
    assert out["reject_reasons"][:] == [["weak_subtitle_match"], ["weak_subtitle_match"], []]
    assert out.features["words"] == schema.features(["words"])["words"]
    assert "cues" not in out.column_names


def test_settings_that_contradict_each_other() -> None:
    with pytest.raises(UsageError, match="min_seconds"):
        SegmentClips(min_seconds=70).check()
    with pytest.raises(UsageError, match="padding"):
        SegmentClips(padding=-1).check()


seconds = st.floats(0, 7200)


@given(seconds, st.floats(0, 5), seconds)
def test_on_grid_is_near_and_inside(time: float, width: float, earliest: float) -> None:
    latest = earliest + width + GRID
    found = on_grid(time, earliest, latest)
    assert abs(found / GRID - round(found / GRID)) < 1e-6
    assert earliest - 1e-5 <= found <= latest + 1e-5


@given(seconds, st.floats(0, 3), st.floats(0, 1), st.lists(seconds, max_size=6))
def test_neighbours_meet_in_the_pause_and_never_overlap(end: float, pause: float, padding: float, raw: list[float]) -> None:
    edges = sorted(raw)
    speech = list(zip(edges[::2], edges[1::2], strict=False))
    stop = clip_end(end, end + pause, padding, speech, 1e5)
    start = clip_start(end + pause, end, padding, speech, 0.0)
    assert stop <= start + 1e-9
    assert stop >= end - GRID / 2 - 1e-6
    assert start <= end + pause + GRID / 2 + 1e-6


@given(st.lists(st.tuples(st.floats(0, 2), st.floats(0.2, 10), st.sampled_from(["Yes.", "and", "好。", "走"])), max_size=25))
def test_clips_hold_all_text_once_in_order_without_overlap(raw: list[tuple[float, float, str]]) -> None:
    time, cues = 5.0, []
    for pause, length, text in raw:
        cues.append(cue(time + pause, time + pause + length, text))
        time += pause + length
    rows = clips(film(*cues, trim_end=time + 1))
    if not cues:
        return
    assert [c["text"] for row in rows for c in row["clip_cues"]] == [c["text"] for c in cues]
    assert all(a["end"] <= b["start"] + 1e-9 for a, b in pairwise(rows))
    assert len({row["clip_id"] for row in rows}) == len(rows)
    assert [row["clip_id"] for row in rows] == sorted(row["clip_id"] for row in rows)
    for row in rows:
        assert 0 <= row["start"] < row["end"] <= time + 1 + 1e-9
        assert all(0 <= c["start"] <= c["end"] <= row["duration"] for c in row["clip_cues"])
