"""The text of a subtitle file of unknown encoding.

A wrong guess does not fail: it gives readable characters of another language. So strict UTF-8, which other text
practically never is by chance, comes first, and what is left is decided among few encodings by how the text looks.
"""

from __future__ import annotations

import codecs
import re

from charset_normalizer import from_bytes

from cineforge_hf.errors import RowError
from cineforge_hf.processors.languages import CJK

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Encodings of Chinese and English subtitles that carry no mark; GB18030 contains GBK and GB2312.
_CANDIDATES = ("gb18030", "big5", "cp1252")
# The 500 commonest characters of written Chinese, simplified and traditional, cover three quarters of running text;
# these, the commonest of dialogue, stand in every few lines of a film and practically never in wrongly decoded text.
_COMMON = set("的一是不了在人有我他这中来上个你们到说和地也子就那要下以生会着去之过家学对可她里后小么心多天为好没什吗呢吧啊"
              "這個們說對學會後裡麼為沒嗎還過來時著給讓誰請")  # fmt: skip
_IDEOGRAPH = re.compile(f"[{CJK}]")
# Characters that a subtitle practically never has: controls, private use, box drawing, replacement.
_IMPLAUSIBLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ue000-\uf8ff\u2500-\u259f\ufffd]")


def decode_subtitles(data: bytes, name: str) -> str:
    """Decodes a subtitle file.

    Args:
        data: the file's bytes.
        name: the file's name, for the message.

    Raises:
        RowError: no encoding gives text (`subtitle_encoding`).
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data.decode(encoding, errors="replace")
    if (utf16 := _unmarked_utf16(data)) is not None:
        return utf16
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        pass
    if _is_damaged_utf8(data):
        return data.decode("utf-8", errors="replace").replace("\ufffd", "")
    texts = [text for encoding in _CANDIDATES if (text := _strictly(data, encoding)) is not None]
    if texts:
        return max(texts, key=_plausibility)
    if best := from_bytes(data, cp_isolation=[*_CANDIDATES, "utf_8"]).best():
        return str(best)
    raise RowError("subtitle_encoding", f"{name}: not text in UTF-8, UTF-16, GB18030, Big5 or Windows-1252; save it as UTF-8")


def _strictly(data: bytes, encoding: str) -> str | None:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return None


def _unmarked_utf16(data: bytes) -> str | None:
    # The digits, colons and arrows of the time lines have a zero byte each in UTF-16, and in nothing else.
    head = data[:2000]
    if len(head) < 4 or head.count(0) < len(head) // 10:
        return None
    return _strictly(data[: len(data) // 2 * 2], "utf-16-le" if head[1::2].count(0) > head[0::2].count(0) else "utf-16-be")


def _is_damaged_utf8(data: bytes) -> bool:
    """Whether nearly all non-ASCII bytes form UTF-8 sequences: a file cut in the middle of a character, or spliced."""
    whole = len(data.decode("utf-8", errors="ignore").encode())
    beyond_ascii = sum(byte > 127 for byte in data)
    return len(data) - whole <= max(3, beyond_ascii // 50) and whole > len(data) - beyond_ascii


def _plausibility(text: str) -> float:
    """How much a text looks like Chinese or English, by its characters beyond ASCII; higher is better."""
    beyond = [character for character in text if character > "\x7f"]
    if not beyond:
        return 1.0
    common = sum(character in _COMMON for character in beyond)
    ideographs = sum(1 for character in beyond if _IDEOGRAPH.match(character))
    bad = len(_IMPLAUSIBLE.findall(text))
    # Accented letters and typographic quotes are rare in English: a text with few characters beyond ASCII, none of them
    # next to another, is Windows-1252; runs of them are a Chinese encoding read as Latin.
    lonely = sum(1 for match in re.finditer("[^\x00-\x7f]+", text) if len(match.group()) == 1)
    western = lonely / len(beyond) if not ideographs else 0.0
    return (4 * common + 0.2 * ideographs - 10 * bad) / len(beyond) + western
