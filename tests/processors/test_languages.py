import pytest

from cineforge_hf.processors.languages import count_scripts, join_texts, resolve_language, spoken_units, text_language


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("我们走吧", "zh"),
        ("Let's go", "en"),
        ("这是 iPhone", "zh"),
        ("OK，好", "zh"),
        ("42", None),
        ("", None),
        ("Où est-il ?", "en"),
    ],
)
def test_script_tells_the_language(text: str, language: str | None) -> None:
    assert text_language(text) == language


def test_punctuation_is_no_character() -> None:
    assert count_scripts("。，！？ ...") == (0, 0, 0)


def test_wanted_language_wins_over_the_text() -> None:
    assert resolve_language("en", "你好") == "en"
    assert resolve_language("auto", "你好") == "zh"
    assert resolve_language(None, "...") == "en"


@pytest.mark.parametrize(
    ("pieces", "joined"),
    [
        (["Yes.", "No."], "Yes. No."),
        (["你好。", "走吧"], "你好。走吧"),
        (["去 北京", "上海"], "去 北京上海"),
        (["", "a"], "a"),
        ([], ""),
    ],
)
def test_pieces_join_as_their_script_wants(pieces: list[str], joined: str) -> None:
    assert join_texts(pieces) == joined


def test_units_are_what_is_said() -> None:
    assert spoken_units("It's 3.50, Mr. O'Neil") == 4
