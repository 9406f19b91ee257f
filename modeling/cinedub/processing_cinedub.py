"""Records to batches for the dubbing model: text, clue, scene, turns, face track by time, reference voices, speech tokens.

Prompts are padded on the left, sequences with labels on the right. Positions on the 25 Hz grid come from seconds, so material of
any frame rate is placed right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from transformers import BatchFeature, PreTrainedTokenizerBase, ProcessorMixin

from cineforge_hf.errors import UsageError
from cineforge_hf.modeling.arrays import stack_padded
from cineforge_hf.modeling.cinedub.configuration_cinedub import CineDubConfig
from cineforge_hf.modeling.cinedub.feature_extraction_cinedub import CineDubFeatureExtractor
from cineforge_hf.modeling.cinedub.packing_cinedub import (
    Grid,
    Packed,
    check_turns,
    face_track,
    pack,
    turn_ids,
    voice_frames,
)

# Appended to the Qwen2 tokenizer in this order; the released text table has a row for each.
ADDED_TOKENS = (
    "<|startofclue|>",
    "<|endofclue|>",
    "<|endofprompt|>",
    "[breath]",
    "<strong>",
    "</strong>",
    "[noise]",
    "[laughter]",
    "[cough]",
    "[clucking]",
    "[accent]",
    "[quick_breath]",
    "<laughter>",
    "</laughter>",
    "[hissing]",
    "[sigh]",
    "[vocalized-noise]",
    "[lipsmack]",
    "[mn]",
    "<|endofsystem|>",
)
_ROW_COLUMNS = {"scene_type": "scene"}
_RECORD = (
    "text",
    "clue",
    "scene",
    "turns",
    "duration",
    "face_times",
    "face_embeddings",
    "voices",
    "speaker_embeds",
    "speech_tokens",
)

Record = dict[str, Any]


class CineDubProcessor(ProcessorMixin):
    """Tokenizer and feature extractor of the dubbing model, and the packing of its prompts.

    Args:
        feature_extractor: for reference voices.
        tokenizer: the Qwen2 tokenizer with `ADDED_TOKENS`.
        codebook_size: number of speech tokens.
        bos_token_id: SOS in the codec table.
        eos_token_id: EOS in the codec table.
        turn_token_id: TURN in the codec table.
        token_rate: positions per second.
        time_vocab_size: ids of times.
        timespk_vocab_size: rows of the time/speaker table.
        face_size: size of a face embedding.
        face_hold: positions for which a face is held.
        codec_id: the `speech_tokenizer_id` of rows whose speech tokens fit; others are refused.
        face_encoder_id: likewise for face embeddings.
        kwargs: of the base class.
    """

    def __init__(
        self,
        feature_extractor: CineDubFeatureExtractor,
        tokenizer: PreTrainedTokenizerBase,
        codebook_size: int = 6561,
        bos_token_id: int = 6561,
        eos_token_id: int = 6562,
        turn_token_id: int = 6563,
        token_rate: int = 25,
        time_vocab_size: int = 1500,
        timespk_vocab_size: int = 1550,
        face_size: int = 512,
        face_hold: int = 5,
        codec_id: str = "s3-v3",
        face_encoder_id: str = "ir101",
        **kwargs: Any,
    ) -> None:
        self.codebook_size = codebook_size
        self.bos_token_id, self.eos_token_id, self.turn_token_id = bos_token_id, eos_token_id, turn_token_id
        self.token_rate = token_rate
        self.time_vocab_size, self.timespk_vocab_size = time_vocab_size, timespk_vocab_size
        self.face_size, self.face_hold = face_size, face_hold
        self.codec_id, self.face_encoder_id = codec_id, face_encoder_id
        super().__init__(feature_extractor, tokenizer, **kwargs)

    @classmethod
    def for_config(
        cls, config: CineDubConfig, tokenizer: PreTrainedTokenizerBase, feature_extractor: CineDubFeatureExtractor
    ) -> Self:
        """The processor that fits a model."""
        shared = ["codebook_size", "bos_token_id", "eos_token_id", "turn_token_id", "token_rate", "time_vocab_size"]
        sizes = {name: getattr(config, name) for name in [*shared, "timespk_vocab_size", "face_size", "face_encoder_id"]}
        return cls(feature_extractor, tokenizer, codec_id=config.speech_tokenizer_id, **sizes)

    @property
    def grid(self) -> Grid:
        """Sizes of the tables."""
        return Grid(self.token_rate, self.time_vocab_size, self.timespk_vocab_size, self.face_size, self.face_hold)

    def __call__(
        self,
        text: str | Sequence[str] | None = None,
        *,
        rows: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        sampling_rate: int | None = None,
        return_tensors: str | None = "pt",
        **fields: Any,
    ) -> BatchFeature:
        """Makes a batch.

        With one text, every field is that record's; with a list of texts, every field is a list with one entry per record.

        Args:
            text: what is said.
            rows: dataset rows in place of texts; fields given beside them take precedence.
            sampling_rate: of the waveforms in `voices`.
            return_tensors: `pt` or `np`.
            fields: `clue`, a description of voices and mood; `scene`, narration, monologue, dialogue or multi; `turns`, each with
                `start` and `duration` in seconds, `speaker`, `gender`, `age`, and where they overlap the one that began last is
                heard (by default one turn for the whole clip); `duration` of the clip in seconds; `face_times` in seconds
                and `face_embeddings` (faces, face_size), without which the track is empty; `voices`, the reference waveform, or
                one by speaker; `speaker_embeds`, x-vectors in their place; `speech_tokens`, the speech for training, whose number
                then is the length of the face track.

        Returns:
            `input_ids`, `token_type_ids`, `attention_mask` (batch, positions), `face_values` (batch, frames, face_size),
            `speech_lengths` (batch); `labels` with speech tokens; `speaker_features` (batch, voices, frames, bins) and
            `speaker_feature_lengths`, or `speaker_embeds` (batch, voices, size), with voices, and then `speaker_frames`
            (batch, frames).

        Raises:
            UsageError: a record cannot be dubbed; the message says why.
        """
        records = self._records(text, rows, fields)
        return self._batch([self._pack(record, sampling_rate) for record in records], return_tensors)

    def _records(self, text: Any, rows: Any, fields: dict[str, Any]) -> list[Record]:
        if unknown := sorted(fields.keys() - set(_RECORD)):
            raise UsageError(f"unknown field {unknown[0]!r}; the fields are {', '.join(_RECORD)}")
        if rows is not None:
            single = isinstance(rows, Mapping)
            records = [self._from_row(row) for row in ([rows] if single else rows)]
        else:
            single = isinstance(text, str) or text is None
            records = [{"text": t} for t in ([text] if single else text)]
        for name, value in fields.items():
            values = [value] if single else value
            if len(values) != len(records):
                raise UsageError(f"{len(values)} entries of {name} for {len(records)} records")
            for record, entry in zip(records, values, strict=True):
                record[name] = entry
        return records

    def _from_row(self, row: Mapping[str, Any]) -> Record:
        for name, ours in (("speech_tokenizer_id", self.codec_id), ("face_encoder_id", self.face_encoder_id)):
            if (made_with := row.get(name)) is not None and made_with != ours:
                raise UsageError(f"the row's {name} is {made_with!r}, the model's is {ours!r}; run that stage again with it")
        renamed = {_ROW_COLUMNS.get(key, key): value for key, value in row.items()}
        return {key: value for key, value in renamed.items() if key in _RECORD and value is not None}

    def _pack(self, record: Record, sampling_rate: int | None) -> Record:
        grid = self.grid
        text = record.get("text")
        if not isinstance(text, str) or not text.strip():
            raise UsageError("the text is empty: there is nothing to say")
        speech = record.get("speech_tokens")
        duration = record.get("duration")
        if duration is None and speech is not None:
            duration = len(speech) / grid.token_rate
        if duration is None:
            raise UsageError("the record has no duration, the length of the clip in seconds")
        frames = grid.frames(float(duration)) if speech is None else len(speech)
        grid.frames(frames / grid.token_rate)
        if speech is not None and (np.min(speech) < 0 or np.max(speech) >= self.codebook_size):
            raise UsageError(f"speech tokens must be 0 to {self.codebook_size - 1}")
        turns = record.get("turns")
        turns = [{"start": 0.0, "duration": float(duration), "speaker": "1"}] if turns is None else turns
        check_turns(turns, float(duration), grid)
        clue = record.get("clue") or ""
        text_ids = self.tokenizer.encode(f"<|startofclue|>{clue}<|endofclue|>{text}", add_special_tokens=False)
        packed = pack(
            text_ids,
            grid.scene_id(record.get("scene")),
            turn_ids(turns, grid),
            frames,
            sos=self.bos_token_id,
            eos=self.eos_token_id,
            turn=self.turn_token_id,
            speech_tokens=None if speech is None else [int(token) for token in speech],
        )
        faces = face_track(record.get("face_times"), record.get("face_embeddings"), frames, grid)
        return {"packed": packed, "faces": faces, **self._voices(record, turns, frames, sampling_rate)}

    def _voices(self, record: Record, turns: Sequence[Any], frames: int, sampling_rate: int | None) -> Record:
        waves, embeds = record.get("voices"), record.get("speaker_embeds")
        if waves is None and embeds is None:
            return {}
        given = waves if embeds is None else embeds
        by_speaker = given if isinstance(given, Mapping) else None
        names = [str(name) for name in by_speaker] if by_speaker is not None else []
        voices = list(by_speaker.values()) if by_speaker is not None else [given]
        track = np.zeros(frames, dtype=np.int64)
        if by_speaker is not None:
            track = voice_frames(turns, names, frames, self.grid)
        if embeds is not None:
            return {"embeds": [np.asarray(v, dtype=np.float32).reshape(-1) for v in voices], "track": track}
        if sampling_rate is None:
            raise UsageError("voices are waveforms: give their sampling_rate too")
        return {"features": [self.feature_extractor.voice(v, sampling_rate) for v in voices], "track": track}

    def _batch(self, records: list[Record], return_tensors: str | None) -> BatchFeature:
        packed: list[Packed] = [record["packed"] for record in records]
        training = [p.labels is not None for p in packed]
        if any(training) != all(training):
            raise UsageError("a batch must have speech tokens for all of its records or for none")
        left = not training[0]
        data: dict[str, Any] = {
            "input_ids": stack_padded([p.ids for p in packed], left=left),
            "token_type_ids": stack_padded([p.types for p in packed], left=left),
            "attention_mask": stack_padded([np.ones_like(p.ids) for p in packed], left=left),
            "face_values": stack_padded([record["faces"] for record in records]),
            "speech_lengths": np.array([len(record["faces"]) for record in records]),
        }
        if all(training):
            data["labels"] = stack_padded([p.labels for p in packed if p.labels is not None], -100)
        for kind, name in (("features", "speaker_features"), ("embeds", "speaker_embeds")):
            there = [kind in record for record in records]
            if any(there) and not all(there):
                raise UsageError("a batch must have waveforms for all of its voices, or x-vectors for all, or none")
            if all(there):
                data[name] = stack_padded([stack_padded(record[kind]) for record in records])
                data["speaker_frames"] = _pad_last([record["track"] for record in records])
        if "speaker_features" in data:
            lengths = [np.array([len(v) for v in record["features"]]) for record in records]
            data["speaker_feature_lengths"] = stack_padded(lengths)
        return BatchFeature(data, tensor_type=return_tensors)


def _pad_last(rows: Sequence[Any]) -> Any:
    longest = max(len(row) for row in rows)
    return np.stack([np.pad(row, (0, longest - len(row)), mode="edge") for row in rows])


__all__ = ["ADDED_TOKENS", "CineDubProcessor"]
