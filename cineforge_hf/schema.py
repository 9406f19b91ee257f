"""The column contract: every column's Arrow type, owner, unit and meaning, in one place.

Invariants:
- One owner per column, the stage that writes it; only `APPEND_ONLY` columns are written by every stage.
- Times are seconds in float64: on the source's clock in film rows and in a clip's `start` and `end`,
  relative to the clip's start in everything else of a clip row.
- Evidence (`asr_text`, `av_turns`) and result (`text`, `turns`) are different columns.

Types are Arrow's own, so that workers need only pyarrow; `features` turns them into `datasets.Features` at the edge.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    from datasets import Features

SCHEMA_VERSION = 1

MEDIA = pa.struct({"bytes": pa.binary(), "path": pa.string()})
SPAN = {"start": pa.float64(), "end": pa.float64()}


def _list(**fields: pa.DataType) -> pa.DataType:
    return pa.list_(pa.struct(fields))


ERROR = pa.struct({"stage": pa.string(), "code": pa.string(), "message": pa.string()})
PROVENANCE = pa.struct(
    {
        "stage": pa.string(),
        "version": pa.int32(),
        "key": pa.string(),
        "engine": pa.string(),
        "revision": pa.string(),
        "licence": pa.string(),
    }
)


@dataclass(frozen=True)
class Column:
    """One column of the contract.

    Args:
        type: its Arrow type; `MEDIA` for files.
        owner: the stage that writes it.
        meaning: what it holds, with its unit.
        media: the `datasets` feature of a media column: `audio`, `video` or `image`.
        carried: whether `SegmentClips` copies it from the film's row into each clip's row.
    """

    type: pa.DataType
    owner: str
    meaning: str
    media: str | None = None
    carried: bool = False


COLUMNS: dict[str, Column] = {
    # films: what the scan of the input knows
    "film_id": Column(pa.string(), "films", "first 12 hex digits of the file's SHA-256", carried=True),
    "source": Column(pa.string(), "films", "path of the film, relative to its input folder", carried=True),
    "sha256": Column(pa.string(), "films", "SHA-256 of the film file", carried=True),
    "title": Column(pa.string(), "films", "title: from the manifest, else the folder, else the file's name", carried=True),
    "season": Column(pa.string(), "films", "season, from the manifest", carried=True),
    "episode": Column(pa.string(), "films", "episode, from the manifest, else the file's name", carried=True),
    "lang": Column(pa.string(), "films", "language of the dialogue: zh, en, or auto", carried=True),
    "intro": Column(pa.float64(), "films", "seconds to skip at the beginning, from the manifest"),
    "outro": Column(pa.float64(), "films", "seconds to skip at the end, from the manifest"),
    "subtitles": Column(_list(path=pa.string(), sha256=pa.string()), "films", "sidecar subtitle files, best first"),
    "licence": Column(pa.string(), "films", "licence of the film, from the manifest", carried=True),
    "consent": Column(pa.string(), "films", "consent of the performers, from the manifest", carried=True),
    "duplicate_of": Column(pa.string(), "films", "film_id of the same file met earlier", carried=True),
    # ingest: probe facts
    "film_duration": Column(pa.float64(), "ingest", "length of the film in seconds"),
    "fps": Column(pa.float64(), "ingest", "frames per second, on average", carried=True),
    "is_vfr": Column(pa.bool_(), "ingest", "whether the frame rate varies", carried=True),
    "width": Column(pa.int32(), "ingest", "displayed width in pixels", carried=True),
    "height": Column(pa.int32(), "ingest", "displayed height in pixels", carried=True),
    "rotation": Column(pa.int32(), "ingest", "degrees by which players turn the picture"),
    "video_codec": Column(pa.string(), "ingest", "codec of the picture"),
    "audio_streams": Column(
        _list(
            index=pa.int32(),
            codec=pa.string(),
            sample_rate=pa.int32(),
            channels=pa.int32(),
            language=pa.string(),
            title=pa.string(),
            commentary=pa.bool_(),
        ),
        "ingest",
        "all sound streams of the file",
    ),
    "audio_stream": Column(pa.int32(), "ingest", "index of the dialogue's sound stream", carried=True),
    "subtitle_streams": Column(
        _list(index=pa.int32(), codec=pa.string(), language=pa.string(), title=pa.string(), text=pa.bool_()),
        "ingest",
        "all subtitle streams of the file; text is false for pictures of text",
    ),
    "trim_start": Column(pa.float64(), "ingest", "where the usable part begins, seconds"),
    "trim_end": Column(pa.float64(), "ingest", "where the usable part ends, seconds"),
    # separate
    "vocals": Column(MEDIA, "separate", "voices of the whole film, FLAC on its clock; null: use the mix", "audio", carried=True),
    "instrumental": Column(
        MEDIA, "separate", "the film's sound without its voices; vocals + instrumental = mix", "audio", carried=True
    ),
    "dialogue_channels": Column(
        pa.list_(pa.string()), "separate", "channels that were separated, e.g. FC; the others hold no voices"
    ),
    "vocal_to_mix_ratio": Column(pa.float64(), "separate", "energy of the vocals over that of the mix, dB"),
    "separated_share": Column(pa.float64(), "separate", "share of the film's seconds out of which anything was taken, 0 to 1"),
    # transcribe
    "cues": Column(
        _list(**SPAN, text=pa.string(), engine=pa.string()), "transcribe", "subtitle cues or recognised pieces, source clock"
    ),
    "film_words": Column(
        _list(**SPAN, text=pa.string(), engine=pa.string()), "transcribe", "words with times, source clock; null without"
    ),
    "speech": Column(_list(**SPAN), "transcribe", "voice activity, source clock"),
    "subtitle_source": Column(pa.string(), "transcribe", "file name or stream that the cues came from", carried=True),
    "subtitle_offset": Column(pa.float64(), "transcribe", "seconds added to the cues after scaling"),
    "subtitle_rate": Column(pa.float64(), "transcribe", "factor by which the cues' times were multiplied"),
    "subtitle_match": Column(pa.float64(), "transcribe", "agreement of cues and voice activity, 0 to 1", carried=True),
    # segment: film rows become clip rows
    "clip_id": Column(pa.string(), "segment", "film_id, start and end in hundredths of a second"),
    "start": Column(pa.float64(), "segment", "start on the source's clock, a multiple of 0.04 s"),
    "end": Column(pa.float64(), "segment", "end on the source's clock, a multiple of 0.04 s"),
    "duration": Column(pa.float64(), "segment", "end - start"),
    "asr_text": Column(pa.string(), "segment", "transcript of the clip as found (evidence)"),
    "words": Column(_list(**SPAN, text=pa.string(), engine=pa.string()), "segment", "words with times in the clip; null without"),
    "clip_cues": Column(
        _list(**SPAN, text=pa.string(), engine=pa.string()), "segment", "cues of the clip, times relative to its start"
    ),
    "clip_speech": Column(_list(**SPAN), "segment", "voice activity in the clip, relative to its start"),
    # check_text
    "n_cjk": Column(pa.int32(), "check_text", "Chinese, Japanese and Korean characters"),
    "n_latin": Column(pa.int32(), "check_text", "Latin letters"),
    "n_digits": Column(pa.int32(), "check_text", "digits"),
    "speech_rate": Column(pa.float64(), "check_text", "characters (zh) or words (en) per second of speech"),
    "text_flags": Column(pa.list_(pa.string()), "check_text", "what is suspicious about the text"),
    # speech_tokens
    "speech_tokens": Column(pa.list_(pa.uint16()), "speech_tokens", "speech as tokens, 25 per second"),
    "speech_tokenizer_id": Column(pa.string(), "speech_tokens", "which speech tokenizer made the tokens"),
    # cot: the result
    "text": Column(pa.string(), "cot", "transcript of the clip (result)"),
    "turns": Column(
        _list(
            start=pa.float64(),
            duration=pa.float64(),
            speaker=pa.string(),
            gender=pa.string(),
            age=pa.string(),
            timbre=pa.string(),
        ),
        "cot",
        "who speaks when (result); null until speaker stages have run",
    ),
    "rttm": Column(pa.string(), "cot", "the turns in RTTM (result)"),
    "clue": Column(pa.string(), "cot", "description of voices and mood (result)"),
    "emotion": Column(pa.string(), "cot", "emotion of the clip (result)"),
    "emotion_confidence": Column(pa.float64(), "cot", "confidence of the emotion, 0 to 1"),
    # verify
    "text_similarity": Column(pa.float64(), "verify", "1 - edit distance / length, of asr_text and text, without punctuation"),
    # append-only
    "errors": Column(pa.list_(ERROR), "*", "what failed for this row, stage by stage"),
    "provenance": Column(pa.list_(PROVENANCE), "*", "which stage, engine, revision and licence made this row"),
    "reject_reasons": Column(pa.list_(pa.string()), "*", "why the row is not accepted; empty for accepted rows"),
}

APPEND_ONLY = ("errors", "provenance", "reject_reasons")


def arrow_schema(names: Iterable[str]) -> pa.Schema:
    """The Arrow schema of the named columns, in the given order.

    Raises:
        KeyError: a name is not in the contract.
    """
    return pa.schema([(name, COLUMNS[name].type) for name in names])


def columns_of(owner: str) -> tuple[str, ...]:
    """Names of the columns that a stage owns, in the contract's order."""
    return tuple(name for name, column in COLUMNS.items() if column.owner == owner)


def features(names: Iterable[str]) -> Features:
    """The `datasets.Features` of the named columns; media columns are undecoded (`decode=False`)."""
    from datasets import Audio, Features, Image, Video

    kinds = {"audio": Audio, "video": Video, "image": Image}
    names = list(names)
    plain = Features.from_arrow_schema(arrow_schema(n for n in names if COLUMNS[n].media is None))
    return Features({n: plain[n] if (media := COLUMNS[n].media) is None else kinds[media](decode=False) for n in names})
