"""Packing, voices and refusals of the processor, on the tokenizer of the goldens' folder."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoProcessor

from cineforge_hf.errors import UsageError
from cineforge_hf.modeling.cinedub import CineDubFeatureExtractor, CineDubProcessor
from cineforge_hf.modeling.cinedub.packing_cinedub import Grid, check_turns, face_track, pack, turn_ids, voice_frames

GRID = Grid()
TURNS = [{"start": 0.0, "duration": 1.0, "speaker": "Anna"}, {"start": 1.4, "duration": 0.6, "speaker": "Ben"}]


@pytest.fixture
def processor(goldens):
    return goldens.processor


@pytest.fixture(scope="module")
def voice():
    return (0.3 * np.random.default_rng(0).standard_normal(16000)).astype(np.float32)


def test_a_single_record(processor, voice):
    inputs = processor("Hi.", clue="A man.", scene="monologue", duration=2.0, voices=voice, sampling_rate=16000)
    text = processor.tokenizer.encode("<|startofclue|>A man.<|endofclue|>Hi.")
    expected = [6561, *[0] * 50, *text, 1501, 1, 1511, -100, -100, 51, 6563]
    assert inputs["input_ids"].tolist() == [expected]
    assert inputs["token_type_ids"].tolist() == [[2, *[3] * 50, *[0] * len(text), *[1] * 6, 2]]
    assert inputs["face_values"].shape == (1, 50, 512)
    assert inputs["speech_lengths"].tolist() == [50]
    assert inputs["speaker_features"].shape == (1, 1, 98, 80)
    assert not inputs["speaker_frames"].any()


def test_clue_and_scene_change_what_the_model_reads(goldens, processor):
    base = {"text": "Hi.", "duration": 2.0}
    plain = processor(**base)
    clue, scene = processor(**base, clue="Whispered."), processor(**base, scene="dialogue")
    assert clue["input_ids"].shape[1] > plain["input_ids"].shape[1]
    changed = (scene["input_ids"] != plain["input_ids"]).nonzero()
    assert [int(plain["input_ids"][0, i]) for _, i in changed] == [1500]
    assert [int(scene["input_ids"][0, i]) for _, i in changed] == [1502]
    logits = [goldens.model(**{k: v for k, v in x.items() if k != "speech_lengths"}).logits[0, -1] for x in (plain, clue, scene)]
    assert not torch.allclose(logits[0], logits[1])
    assert not torch.allclose(logits[0], logits[2])


def test_batches_are_padded_on_the_left_and_on_the_right_with_labels(processor):
    fields = {"duration": [1.0, 2.0], "clue": ["A long description of the voice.", ""]}
    prompts = processor(["One.", "Two."], **fields)
    single = processor("Two.", duration=2.0)
    lengths = prompts["attention_mask"].sum(-1).tolist()
    assert prompts["input_ids"].shape[1] == max(lengths)
    assert prompts["attention_mask"][:, -1].tolist() == [1, 1]
    assert torch.equal(prompts["input_ids"][1, -lengths[1] :], single["input_ids"][0])
    tokens = [list(range(20)), list(range(60))]
    training = processor(["One.", "Two."], speech_tokens=tokens, clue=fields["clue"])
    assert training["attention_mask"][:, 0].tolist() == [1, 1]
    for row, speech in enumerate(tokens):
        labels = training["labels"][row]
        size = int(training["attention_mask"][row].sum())
        assert labels[labels != -100].tolist() == [*speech, 6562]
        assert labels[size - 1] == 6562
        assert bool((labels[size:] == -100).all())
        assert training["input_ids"][row, size - len(speech) - 2] == 6563
    assert training["speech_lengths"].tolist() == [20, 60]


def test_rows_of_a_dataset(processor):
    row = {
        "text": "Hello there.",
        "clue": "Calm.",
        "scene_type": "dialogue",
        "turns": TURNS,
        "duration": 2.0,
        "face_times": [0.4, 1.0],
        "face_embeddings": np.ones((2, 512), np.float32),
        "speech_tokenizer_id": "s3-v3",
        "film_id": "0123456789ab",
    }
    inputs = processor(rows=row)
    same = processor(
        row["text"], **{k: row[k] for k in ("clue", "turns", "duration", "face_times", "face_embeddings")}, scene="dialogue"
    )
    assert all(torch.equal(inputs[key], same[key]) for key in inputs)
    assert inputs["face_values"][0].any(-1).nonzero().flatten().tolist() == [*range(10, 15), *range(25, 30)]
    assert processor(rows=[row, row])["input_ids"].shape[0] == 2
    with pytest.raises(UsageError, match="speech_tokenizer_id is 'other', the model's is 's3-v3'"):
        processor(rows={**row, "speech_tokenizer_id": "other"})


def test_voices_by_speaker(processor, voice):
    inputs = processor("A b.", duration=2.0, turns=TURNS, voices={"Ben": voice, "Anna": voice[:12000]}, sampling_rate=16000)
    assert inputs["speaker_features"].shape == (1, 2, 98, 80)
    assert inputs["speaker_feature_lengths"].tolist() == [[98, 73]]
    assert inputs["speaker_frames"].tolist() == [[1] * 35 + [0] * 15]
    embeds = {"Anna": np.ones(192), "Ben": np.zeros(192)}
    batch = processor(["A b.", "C."], duration=[2.0, 1.0], turns=[TURNS, None], speaker_embeds=[embeds, np.ones((1, 192))])
    assert batch["speaker_embeds"].shape == (2, 2, 192)
    assert batch["speaker_frames"][0].tolist() == [0] * 35 + [1] * 15
    with pytest.raises(UsageError, match="speaker 'Ben' has no voice; voices were given for 'Anna'"):
        processor("A b.", duration=2.0, turns=TURNS, voices={"Anna": voice}, sampling_rate=16000)


def test_two_speakers_get_two_voices(goldens, processor, voice):
    turns = [{**turn, "start": turn["start"]} for turn in TURNS]
    other = np.sign(voice) * voice**2
    inputs = processor("A b.", duration=2.0, turns=turns, voices={"Anna": voice, "Ben": other}, sampling_rate=16000)
    embeds = goldens.model.embed_voices(inputs["speaker_features"], inputs["speaker_feature_lengths"])
    condition = goldens.model.flow.embed_speakers(embeds, 100, inputs["speaker_frames"])
    switches = (condition[0, 1:] != condition[0, :-1]).any(-1).nonzero().flatten().tolist()
    assert switches == [69]  # mel frame 70 is 1.4 s, where Ben begins


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"text": "  "}, "the text is empty"),
        ({"duration": None}, "no duration"),
        ({"duration": 0.0}, "a clip of 0 s"),
        ({"duration": 60.5}, r"a clip of 60.5 s cannot be dubbed in one piece; the limit is 60 s"),
        ({"turns": [{"start": 1.0, "duration": 1.5}]}, r"turn 1 ends at 2.5 s, after the clip's end at 2 s"),
        ({"turns": [{"start": -0.5, "duration": 1.0}]}, "turn 1 starts at -0.5 s"),
        ({"turns": [{"start": 0.5, "duration": 0.0}]}, "lasts 0 s"),
        ({"turns": [{"start": 0.5}]}, "turn 1 needs start and duration"),
        ({"turns": [{"start": 0.0, "duration": 1.0, "speaker": "40"}]}, "40 speakers in one clip; the model knows 39"),
        ({"face_times": [0.0], "face_embeddings": np.zeros((1, 128))}, "face embeddings have 128 values, the model takes 512"),
        ({"speech_tokens": [7000]}, "speech tokens must be 0 to 6560"),
        ({"voices": np.zeros(16000)}, "give their sampling_rate"),
        ({"voice": None}, "unknown field 'voice'; the fields are"),
    ],
)
def test_what_cannot_be_dubbed_is_named(processor, fields, message):
    with pytest.raises(UsageError, match=message):
        processor(**({"text": "Hi.", "duration": 2.0} | fields))


@pytest.mark.parametrize(
    ("wave", "rate", "message"),
    [
        (np.ones(1600), 16000, r"lasts 0.10 s; at least 0.5 s"),
        (np.zeros(16000), 16000, "the reference voice is silent"),
        (np.full(16000, np.nan), 16000, "not finite"),
        (np.zeros((16000, 2)), 16000, r"must be \(samples\) or \(channels, samples\)"),
    ],
)
def test_references_that_are_no_voice(processor, wave, rate, message):
    with pytest.raises(UsageError, match=message):
        processor("Hi.", duration=2.0, voices=wave, sampling_rate=rate)


def test_a_stereo_reference_of_another_rate(goldens, processor):
    """It is mixed and resampled: the voice is nearly that of the original below the lower rate's limit."""
    time = np.arange(48000) / 48000
    wave = sum(np.sin(2 * np.pi * f * time) / (i + 1) for i, f in enumerate((150, 300, 450, 2000, 3000))).astype(np.float32) / 4
    low, high = (
        processor.feature_extractor.voice(np.stack([wave[::6], wave[::6]]), 8000),
        processor.feature_extractor.voice(wave, 48000),
    )
    assert low.shape == high.shape == (98, 80)
    assert np.abs(low - high)[2:-2].mean() < 0.5


def test_overlapping_turns_are_heard_from_the_one_that_began_last():
    turns = [{"start": 0.0, "duration": 2.0, "speaker": "a"}, {"start": 1.0, "duration": 0.4, "speaker": "b"}]
    assert voice_frames(turns, ["a", "b"], 50, GRID).tolist() == [0] * 25 + [1] * 25
    late = [{"start": 0.5, "duration": 1.0, "speaker": "b"}]
    assert voice_frames(late, ["a", "b"], 50, GRID).tolist() == [1] * 50


def test_faces_lie_by_time_at_any_frame_rate():
    """Every fifth frame at 23.976 fps: the track holds each face from its time, not from its frame number."""
    times = np.arange(0, 120, 5) / 23.976
    track = face_track(times, np.arange(1, 25)[:, None] * np.ones(512), 125, GRID)
    starts = (np.diff(track[:, 0], prepend=0) > 0).nonzero()[0]
    assert np.abs(starts / 25 - times[: len(starts)]).max() <= 0.02 + 1e-9
    assert track[124, 0] == 24 or track[124, 0] == 0
    assert not face_track([-1.0, 9.0], np.ones((2, 512)), 125, GRID).any()
    assert not face_track([], [], 125, GRID).any()


@given(
    starts=st.lists(st.floats(0, 59.9), min_size=1, max_size=6),
    seconds=st.floats(0.04, 60.0),
    text=st.lists(st.integers(0, 1000), max_size=20),
)
def test_any_record_packs_into_the_tables(starts, seconds, text):
    turns = [{"start": start, "duration": 0.1, "speaker": f"s{start}"} for start in starts]
    ids = turn_ids(turns, GRID)
    assert all(i == -100 or 1 <= i < 1550 for i in ids)
    assert all(1 <= i <= 1500 for i in ids[::5] + ids[4::5])
    frames = GRID.frames(seconds)
    assert abs(frames / 25 - seconds) <= 0.02 + 1e-9
    packed = pack(text, 1500, ids, frames, sos=6561, eos=6562, turn=6563)
    assert len(packed.ids) == len(packed.types) == frames + len(text) + len(ids) + 3
    assert packed.labels is None
    fits = max(starts) + 0.1 <= seconds + 0.04
    if fits:
        check_turns(turns, seconds, GRID)
    else:
        with pytest.raises(UsageError, match="after the clip's end"):
            check_turns(turns, seconds, GRID)


def test_auto_processor_reads_what_was_saved(goldens):
    loaded = AutoProcessor.from_pretrained(goldens.folder)
    assert type(loaded) is CineDubProcessor
    assert type(loaded.feature_extractor) is CineDubFeatureExtractor
    assert loaded.grid == goldens.processor.grid
    assert loaded.tokenizer.encode("<|startofclue|>x") == goldens.processor.tokenizer.encode("<|startofclue|>x")
