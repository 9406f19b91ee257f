import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cineforge_hf.errors import UsageError
from cineforge_hf.processors.check_text import FLAGS, CheckText, has_adjacent_repeats, has_repeated_substrings


def flags(text: str, lang: str = "auto", duration: float = 3.0, **settings: float) -> list[str]:
    row = {"asr_text": text, "lang": lang, "duration": duration}
    return list(CheckText(**settings).run([row])[0][0]["text_flags"])


@pytest.mark.parametrize(
    ("text", "lang", "duration", "expected"),
    [
        ("Good morning, Mr. Smith.", "en", 3.0, []),
        ("你好，我们走吧。", "zh", 3.0, []),
        ("Good morning.", "zh", 2.0, ["language_mismatch"]),
        ("我们现在走吧好吗", "en", 3.0, ["language_mismatch"]),
        ("我喜欢 iPhone 和 Mac", "auto", 3.0, []),
        ("我们用 NASA 吧", "zh", 3.0, []),
        ("No no no no no, please wait.", "en", 3.0, ["adjacent_repeats"]),
        ("哈哈哈哈哈，好的", "zh", 3.0, ["adjacent_repeats"]),
        ("快走快走快走快走快走", "zh", 3.0, ["adjacent_repeats"]),
        ("Yes, it is so.", "en", 12.0, ["too_short_text_for_audio", "too_slow"]),
        ("好的我来", "zh", 12.0, ["too_short_text_for_audio", "too_slow"]),
        ("我" * 3 + "们都在这里看着你呢你知道吗快点过来吧不然就晚了啊真的很晚了", "zh", 2.0, ["too_fast"]),
        ("...", "en", 3.0, ["empty"]),
    ],
)
def test_flags(text: str, lang: str, duration: float, expected: list[str]) -> None:
    assert flags(text, lang, duration) == expected


def test_stuttered_phrases() -> None:
    assert has_repeated_substrings("I know you. " * 5, 5, 2)
    assert not has_repeated_substrings("I know you. " * 2 + "Do you know me?", 5, 2)


def test_rate_counts_speech_not_pauses() -> None:
    row = {"asr_text": "one two three four", "lang": "en", "duration": 8.0, "clip_speech": [{"start": 1.0, "end": 3.0}]}
    assert CheckText().run([row])[0][0]["speech_rate"] == 2.0


def test_long_text_takes_no_quadratic_time() -> None:
    start = time.monotonic()
    CheckText().run([{"asr_text": "我们走吧 and go " * 20_000, "lang": "zh", "duration": 10.0}])
    assert time.monotonic() - start < 20


@given(st.text())
def test_any_text_gets_known_flags(text: str) -> None:
    assert set(flags(text)) <= set(FLAGS)


@given(st.sampled_from(["一", "二三", "你好吗"]), st.integers(1, 9))
def test_chinese_phrases_in_a_row(phrase: str, times: int) -> None:
    assert has_adjacent_repeats("开" + phrase * times + "完", 5) is (times >= 5)


def test_settings_that_make_no_sense() -> None:
    with pytest.raises(UsageError, match="min_rate"):
        CheckText(min_rate_zh=20).check()
    with pytest.raises(UsageError, match="min_repeats"):
        CheckText(min_repeats=1).check()
