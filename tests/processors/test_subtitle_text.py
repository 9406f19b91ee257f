"""Encodings, formats, cleaning and repair of subtitles."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cineforge_hf.errors import RowError
from cineforge_hf.processors.engines.transcribe.cleaning import choose_lines, clean_lines
from cineforge_hf.processors.engines.transcribe.encodings import decode_subtitles
from cineforge_hf.processors.engines.transcribe.parsing import RawCue, parse_subtitles, repair_cues

SIMPLIFIED = "我没有说什么。我现在什么都不知道了，我一只火鸡，我能说什么呢？"
TRADITIONAL = "這個時候我們該走了，對吧？沒有人會來的，請你別說了。"
WESTERN = "“Café”—that’s the naïve one, isn’t it?"


def srt(*texts: str) -> str:
    return "\n".join(f"{i}\n00:00:{i:02},000 --> 00:00:{i:02},900\n{text}\n" for i, text in enumerate(texts, 1))


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        *((SIMPLIFIED, e) for e in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "gbk", "gb18030", "gb2312")),
        *((TRADITIONAL, e) for e in ("utf-8", "big5", "gbk", "utf-16")),
        *((WESTERN, e) for e in ("utf-8", "cp1252")),
        ("Plain words.", "ascii"),
    ],
)
def test_encodings(text: str, encoding: str) -> None:
    whole = srt(text, text[:4])
    assert decode_subtitles(whole.encode(encoding), "x.srt") == whole


def test_a_short_file_in_gbk() -> None:
    assert "你好" in decode_subtitles(srt("你好").encode("gbk"), "x.srt")


def test_a_file_cut_inside_a_character_keeps_the_rest() -> None:
    assert SIMPLIFIED[:20] in decode_subtitles(srt(SIMPLIFIED).encode()[:-5], "x.srt")


@pytest.mark.parametrize(
    ("raw", "lines"),
    [
        ("<i>Wait.</i>", ["Wait."]),
        ("{\\an8}Up <font color='red'>here</font>", ["Up here"]),
        ("JOHN: Wait.", ["Wait."]),
        ("DR. SMITH:\nWait.", ["Wait."]),
        ("- Yes.\n- No.", ["Yes.", "No."]),
        ("–Yes.\n—No.", ["Yes.", "No."]),
        ("[door slams]", []),
        ("(laughs) Stop!", ["Stop!"]),
        ("（笑）好的", ["好的"]),
        ("[He\nlaughs] No.", ["No."]),
        ("♪ la la la ♪", []),
        ("Tom &amp; Jerry&nbsp;run", ["Tom & Jerry run"]),
        ("a\u200bb\ufeff", ["ab"]),
        ("...", []),
        ("Где ты?", ["Где ты?"]),
        ("", []),
    ],
)
def test_markup_is_taken_away(raw: str, lines: list[str]) -> None:
    assert clean_lines(raw, ass=False) == lines


@pytest.mark.parametrize(
    "text",
    [
        "-5 degrees",
        "It's 10:30 now.",
        "Well - no.",
        "3 < 5",
        "<3 you",
        "Dear John: wait.",
        "OK: go",
        "他说：好",
        "等等……",
        "I was...",
    ],
)
def test_words_stay(text: str) -> None:
    assert clean_lines(text, ass=False) == [text]


@given(st.lists(st.sampled_from(["I", "said", "你好，", "no.", "走吧。", "3.50", "don't"]), min_size=1).map(" ".join))
def test_plain_text_comes_out_unchanged(text: str) -> None:
    assert clean_lines(text, ass=False) == [text]


def test_ass_drawings_and_comments_are_no_text() -> None:
    assert clean_lines("{\\p1}m 0 0 l 10 10{\\p0}", ass=True) == []
    assert clean_lines("{note}Hi{\\i1} there", ass=True) == ["Hi there"]


def test_bilingual_files_keep_the_wanted_language() -> None:
    cues = [["我们走吧。", "Let's go."], ["好。", "Okay."], ["1984？", "1984?"]]
    assert choose_lines(cues, "zh")[:2] == ["我们走吧。", "好。"]
    assert choose_lines(cues, "en")[:2] == ["Let's go.", "Okay."]


def test_a_file_that_mixes_languages_by_cue_keeps_all() -> None:
    assert choose_lines([["我们走吧。"], ["Let's go."]], "zh") == ["我们走吧。", "Let's go."]


def texts(content: str) -> list[str]:
    return [cue.text.replace("\\N", "|") for cue in parse_subtitles(content, "x")[0]]


def test_srt_with_missing_numbers_and_blank_lines() -> None:
    assert texts("1  spk0\n00:00:10,000 --> 00:00:12,000\n你好。\n2  spk1\n00:00:30,000 --> 00:00:33,500\n再见。") == [
        "你好。",
        "再见。",
    ]


def test_a_number_as_last_line_is_text() -> None:
    assert texts(srt("Room\n42", "Room\n101")) == ["Room|42", "Room|101"]


def test_vtt_notes_names_and_short_stamps() -> None:
    vtt = "WEBVTT - x\n\nNOTE a\nb\n\nSTYLE\n::cue {}\n\nintro\n"
    vtt += "00:01.000 --> 00:02.500 align:start\nHello\n\n00:00:03.000 --> 00:00:04.000\nbye"
    cues, ass = parse_subtitles(vtt, "x.vtt")
    assert [(c.start, c.end, c.text) for c in cues] == [(1.0, 2.5, "Hello"), (3.0, 4.0, "bye")]
    assert not ass


def test_ass_events() -> None:
    fields = "Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text"
    ass = f"[Script Info]\nScriptType: v4.00+\n\n[Events]\nFormat: {fields}\n"
    ass += "Comment: 0,0:00:00.00,0:00:01.00,Default,,0,0,0,,no\n"
    ass += "Dialogue: 0,0:00:01.00,0:00:02.50,Default,,0,0,0,,Yes, {\\i1}sir\\Nnow\n"
    cues, is_ass = parse_subtitles(ass, "x.ass")
    assert is_ass
    assert [(c.start, c.end, clean_lines(c.text, ass=True)) for c in cues] == [(1.0, 2.5, ["Yes, sir", "now"])]


@pytest.mark.parametrize("text", ["", "hello\nworld", "\x00\x00"])
def test_no_cues_in_other_text(text: str) -> None:
    assert parse_subtitles(text, "x")[0] == []


def test_a_broken_ass_is_a_row_error() -> None:
    with pytest.raises(RowError) as caught:
        parse_subtitles("[Script Info]\n\n[Events]\nFormat: Layer, Start\nDialogue: x,y\n", "bad.ass")
    assert caught.value.code == "subtitle_format"
    assert "bad.ass" in caught.value.message


def test_repair_sorts_clips_and_joins_repeats() -> None:
    cues = [
        RawCue(5, 7, "b"),
        RawCue(1, 6, "a"),
        RawCue(9, 8, "no length"),
        RawCue(12, 13, "c"),
        RawCue(13.05, 14, "c"),
        RawCue(20, 21, ""),
    ]
    repaired = repair_cues(cues)
    assert [(c.start, c.end, c.text) for c in repaired[:2]] == [(1, 5, "a"), (5, 7, "b")]
    assert repaired[2].end > repaired[2].start
    assert (repaired[3].start, repaired[3].end, repaired[3].text) == (12, 14, "c")
    assert len(repaired) == 4


times = st.floats(0, 100, allow_nan=False)


@given(st.lists(st.builds(RawCue, times, times, st.sampled_from(["", "a", "b", "c"]))))
def test_repaired_cues_are_in_order_with_lengths(cues: list[RawCue]) -> None:
    repaired = repair_cues(cues)
    assert all(c.end > c.start and c.text for c in repaired)
    assert all(a.end <= b.start for a, b in itertools.pairwise(repaired))
    assert {t for c in repaired for t in c.text} <= {t for c in cues for t in c.text} | {" "}
