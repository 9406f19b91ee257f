"""Which sound track of a film to use."""

from __future__ import annotations

from cineforge_hf.errors import MediaError
from cineforge_hf.media.streams import AudioStream, Probe

# Tags as found in the wild: ISO 639-1, both ISO 639-2 forms, ISO 639-3, and names in track titles.
_ALIASES: dict[str, tuple[str, ...]] = {
    "zh": ("zh", "chi", "zho", "cmn", "chinese", "mandarin", "中文", "国语", "國語", "普通话", "普通話", "汉语"),
    "en": ("en", "eng", "english", "英语", "英文", "英語"),
    "ja": ("ja", "jpn", "japanese", "日语", "日本語"),
    "ko": ("ko", "kor", "korean", "韩语", "한국어"),
    "yue": ("yue", "cantonese", "粤语", "粵語"),
    "fr": ("fr", "fre", "fra", "french"),
    "de": ("de", "ger", "deu", "german"),
    "es": ("es", "spa", "spanish"),
    "it": ("it", "ita", "italian"),
    "pt": ("pt", "por", "portuguese"),
    "ru": ("ru", "rus", "russian"),
}


def choose_audio(probe: Probe, lang: str | None = None) -> AudioStream:
    """Choose the track to work on: of the language, never commentary if another exists, then the default, then the first.

    Args:
        probe: the film.
        lang: language code such as `zh` or `en`; None or `auto` for no preference.

    Returns:
        The chosen track. A language that no track names falls back on the default track: tags are often missing.

    Raises:
        MediaError: `no_audio_stream`.
    """
    if not probe.audio:
        raise MediaError("no_audio_stream", "the film has no sound; remove it from the input or mux its sound track in")
    candidates = [a for a in probe.audio if not a.commentary] or list(probe.audio)
    if lang is not None and lang != "auto":
        candidates = [a for a in candidates if speaks(a, lang)] or candidates
    return next((a for a in candidates if a.default), candidates[0])


def speaks(stream: AudioStream, lang: str) -> bool:
    """Tell whether a track's tag names the language; without a tag, whether its title does."""
    names = next((names for names in _ALIASES.values() if lang.lower() in names), (lang.lower(),))
    if stream.language is not None:
        return stream.language.lower().replace("_", "-").split("-")[0] in names
    title = (stream.title or "").lower()
    return any(name in title for name in names if len(name) > 3 or not name.isascii())
