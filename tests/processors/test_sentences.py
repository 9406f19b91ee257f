from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cineforge_hf.processors.sentences import Joining, Piece, ends_sentence, sentences


@pytest.mark.parametrize(
    ("text", "following", "ends"),
    [
        ("Hello.", "Next", True),
        ("Hello", "Next", False),
        ("Really?!", "", True),
        ("He said “no.”", "Then", True),
        ("I saw Mr.", "Smith", False),
        ("Call Dr.", "Who", False),
        ("fruit, e.g.", "Apples", False),
        ("in the U.S.", "Army", False),
        ("He moved to the U.S.", "", True),
        ("J.", "Smith", False),
        ("It cost $3.50", "in all", False),
        ("It cost $3.50.", "In all", True),
        ("No.", "Never", True),
        ("No.", "5 is alive", False),
        ("So was I.", "You", True),
        ("I was...", "going home", False),
        ("I was…", "…going home", False),
        ("I was...", "Never mind", True),
        ("你好。", "我", True),
        ("你好吗？」", "我", True),
        ("等等……", "我", True),
        ("我第3.5", "次", False),
        ("你好，", "我", False),
        ("你好", "我", False),
        ("走；", "来", True),
        ("", "x", False),
    ],
)
def test_ends_of_sentences(text: str, following: str, ends: bool) -> None:
    assert ends_sentence(text, following) is ends


def pieces(*specs: tuple[float, float, str]) -> list[Piece]:
    return [Piece(*spec) for spec in specs]


def grouped(given_pieces: list[Piece], **rules: float) -> list[str]:
    return [" ".join(p.text for p in group) for group in sentences(given_pieces, Joining(**rules))]


def test_pieces_without_an_end_go_on_in_the_next() -> None:
    cues = pieces((0, 2, "I saw Mr."), (2.1, 4, "Smith."), (4.1, 7, "He left."), (7.2, 10, "Good."))
    assert grouped(cues) == ["I saw Mr. Smith.", "He left.", "Good."]


def test_nothing_spans_a_long_pause() -> None:
    cues = pieces((0, 3, "I saw"), (4.5, 8, "nothing."), (8.1, 12, "Yes."))
    assert grouped(cues) == ["I saw", "nothing.", "Yes."]


def test_short_sentences_join_the_nearer_neighbour() -> None:
    cues = pieces((0, 3, "One two three."), (3.5, 4, "Yes."), (4.1, 8, "Four five six."))
    assert grouped(cues) == ["One two three.", "Yes. Four five six."]
    cues = pieces((0, 3, "One two three."), (3.1, 4, "Yes."), (4.5, 8, "Four five six."))
    assert grouped(cues) == ["One two three. Yes.", "Four five six."]
    cues = pieces((0, 3, "One two three."), (9, 9.5, "Yes."), (20, 23, "Four five six."))
    assert grouped(cues) == ["One two three.", "Yes.", "Four five six."]


def test_chinese_without_punctuation_goes_by_pauses() -> None:
    cues = pieces((0, 2.5, "我们走吧"), (2.6, 5, "天要黑了"), (5.6, 8, "你看那边"))
    assert grouped(cues) == ["我们走吧 天要黑了", "你看那边"]


def test_long_groups_are_cut_at_their_longest_pause() -> None:
    cues = pieces(*((i * 5.0 + (0.4 if i >= 7 else 0), i * 5.0 + 4.5, "and") for i in range(14)), (70, 74, "end."))
    groups = sentences(cues, Joining(max_seconds=60.0))
    assert len(groups) == 2
    assert groups[1][0].start == pytest.approx(35.4)


def test_the_ancestors_merge_rule() -> None:
    cues = pieces((0, 2.5, "A one."), (3, 5.5, "B two."), (6, 8.5, "C three."))
    assert grouped(cues) == ["A one.", "B two.", "C three."]
    assert grouped(cues, merge_seconds=4.0) == ["A one. B two.", "C three."]


@st.composite
def timed(draw: st.DrawFn) -> list[Piece]:
    time, made = 0.0, []
    for _ in range(draw(st.integers(0, 30))):
        time += draw(st.floats(0, 3))
        length = draw(st.floats(0.1, 20))
        made.append(Piece(time, time + length, draw(st.sampled_from(["Yes.", "and", "Mr.", "好", "好。", "..."]))))
        time += length
    return made


rules = st.builds(Joining, st.floats(0, 5), st.floats(10, 60), st.floats(0, 2), st.sampled_from([0.0, 4.0]))


@given(timed(), rules)
def test_every_piece_is_in_one_group_and_the_limits_hold(given_pieces: list[Piece], joining: Joining) -> None:
    groups = sentences(given_pieces, joining)
    assert [p for group in groups for p in group] == given_pieces
    for group in groups:
        assert len(group) == 1 or group[-1].end - group[0].start <= joining.max_seconds + 1e-9
        assert all(b.start - a.end <= joining.max_pause + 1e-9 for a, b in pairwise(group))
