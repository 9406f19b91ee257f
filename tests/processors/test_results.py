"""`CorrectWithCoT` and `Verify`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cineforge_hf.errors import UsageError
from cineforge_hf.processors.cot import CorrectWithCoT
from cineforge_hf.processors.verify import Verify, text_similarity


def test_skip_copies_the_evidence_and_says_so() -> None:
    ((row,),) = CorrectWithCoT().run([{"asr_text": "Good."}])
    assert row["text"] == "Good."
    assert "turns" not in row
    assert row["provenance"][0]["engine"] == "skip"


def test_unknown_engines_are_named() -> None:
    with pytest.raises(UsageError, match=r"'gemini'.*skip"):
        CorrectWithCoT(engine="gemini").check()


def judged(asr_text: str, text: str, lang: str = "en", flags: list[str] | None = None, **settings: object) -> list[str]:
    row = {"asr_text": asr_text, "text": text, "lang": lang, "text_flags": flags}
    return list(Verify(**settings).run([row])[0][0]["reject_reasons"])


def test_reasons() -> None:
    assert judged("Good morning.", "good morning") == []
    assert judged("abcdefghij", "abcdefxxxx") == ["low_text_similarity"]
    assert judged("我们明天再走", "我们明天都不", "zh") == []
    assert judged("", "...") == ["empty_text"]
    assert judged("Good.", "Good.", flags=["too_fast", "language_mismatch"]) == ["too_fast", "language_mismatch"]
    assert judged("Good.", "Good.", flags=["too_fast"], reject_flags=["language_mismatch"]) == []


def test_settings_are_checked() -> None:
    with pytest.raises(UsageError, match="nonsense"):
        Verify(reject_flags=["nonsense"]).check()
    with pytest.raises(UsageError, match="between 0 and 1"):
        Verify(min_similarity_zh=50).check()
    Verify().check()


@given(st.text(), st.text())
def test_similarity_is_symmetric_and_bounded(first: str, second: str) -> None:
    similarity = text_similarity(first, second)
    assert 0 <= similarity <= 1
    assert similarity == text_similarity(second, first)
    assert text_similarity(first, first) == 1
