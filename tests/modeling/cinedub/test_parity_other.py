"""Goldens that belong to no record: tokenizer, ids of turns, noise tables, streaming, the clamp, the training mel; batches."""

from __future__ import annotations

import pytest
import torch

from cineforge_hf.modeling.audio_features import flow_mel, flow_mel_filters
from cineforge_hf.modeling.cinedub.modeling_cinedub_flow import _noise_table as flow_noise
from cineforge_hf.modeling.cinedub.modeling_cinedub_vocoder import _noise_table as vocoder_noise
from cineforge_hf.modeling.cinedub.packing_cinedub import Grid, turn_ids

RECORDS = ("en_monologue_1", "en_dialogue_1", "zh_monologue_1")
RECORD = RECORDS[0]


def close(ours, theirs, tolerance):
    assert ours.shape == theirs.shape
    assert float((ours - theirs).abs().max()) <= tolerance


def test_tokenizer(goldens):
    tokenizer = goldens.processor.tokenizer
    for token, number in goldens.facts["special_token_ids"].items():
        assert tokenizer.convert_tokens_to_ids(token) == number
    for case in goldens.facts["tokenizer_cases"]:
        assert tokenizer.encode(case["text"], add_special_tokens=False) == case["ids"]


def test_ids_of_turns(goldens):
    grid = Grid()
    for case in goldens.facts["dialogue_id_cases"]:
        turns = [{**turn, "speaker": turn["spk"]} for turn in case["dialogue"]]
        assert turn_ids(turns, grid) == case["timespk_ids"]
        assert grid.scene_id(case["type"]) == case["type_id"]


def test_noise_tables(goldens):
    close(flow_noise(0, 15000, 80)[0, :200], goldens["noise.flow_first200"], 1e-5)
    assert torch.equal(vocoder_noise(0, 24000, 9)[0, :480], goldens["noise.vocoder_first480"])


@pytest.mark.parametrize("mask_type", [0, 2])
def test_flow_streaming(goldens, mask_type):
    codes, voice = goldens[f"{RECORD}.flow.codes"][None], goldens[f"{RECORD}.xvec"][None, None]
    lengths = torch.tensor([codes.shape[1]])
    mel = goldens.model.flow.sample(codes, lengths, voice, mask_type=mask_type, finalize=False)
    close(mel[0], goldens[f"stream.flow_mel_mode{mask_type}"], 2e-4)


def test_flow_streaming_prefix(goldens):
    codes, voice = goldens[f"{RECORD}.flow.codes"][None, :36], goldens[f"{RECORD}.xvec"][None, None]
    mel = goldens.model.flow.sample(codes, torch.tensor([36]), voice, mask_type=2, finalize=False)
    close(mel[0], goldens["stream.flow_prefix36_mode2"], 2e-4)
    close(mel[0, :60], goldens[f"{RECORD}.flow.mel_mode2"][:60], 2e-4)


@torch.no_grad()
def test_vocoder_streaming(goldens):
    wave, samples = goldens.model.vocoder(goldens[f"{RECORD}.flow.mel_mode0"][None], finalize=False)
    assert int(samples) == wave.shape[1]
    close(wave[0], goldens["stream.voc_wav"], 2e-3)
    close(wave[0], goldens[f"{RECORD}.voc.wav"][: wave.shape[1]], 2e-3)


@torch.no_grad()
def test_vocoder_clamp(goldens):
    vocoder, mel = goldens.model.vocoder, 3.0 * goldens[f"{RECORD}.flow.mel_mode0"][None, :60]
    close(vocoder.predict_f0(mel)[0], goldens["loud.f0"], 1e-3)
    close(vocoder.make_source(goldens["loud.f0"][None])[0], goldens["loud.source"], 1e-5)
    close(vocoder.decode(mel, goldens["loud.source"][None], torch.tensor([60]))[0][0], goldens["loud.wav"], 1e-4)
    close(vocoder(mel)[0][0], goldens["loud.wav"], 1e-2)


def test_training_mel(goldens):
    close(torch.from_numpy(flow_mel_filters()).T.float(), goldens["train.mel_basis"], 1e-7)
    wave = goldens[f"{RECORD}.voc.wav"][:24000].numpy()
    close(torch.from_numpy(flow_mel(wave)), goldens["train.logmel_of_first_second"], 2e-3)


def batch_of(goldens, records):
    fields = [goldens.fields(record) for record in records]
    columns = {name: [record[name] for record in fields] for name in fields[0]}
    return goldens.processor(columns.pop("text"), sampling_rate=16000, **columns)


def test_batch_gives_the_sampled_tokens_of_single_runs(goldens):
    """All nine stored sequences, of three records of different lengths and three seeds, in one left-padded batch."""
    seeds = [0, 1, 2]
    batch = batch_of(goldens, [record for record in RECORDS for _ in seeds])
    assert not bool(batch["attention_mask"].all())
    rows = goldens.model.split_codes(goldens.model.generate(**batch, seed=seeds * 3, max_new_tokens=160))
    stored = [goldens[f"{record}.ras_codes_seed{seed}"] for record in RECORDS for seed in seeds]
    assert all(torch.equal(row, single) for row, single in zip(rows, stored, strict=True))


def test_batch_gives_the_greedy_tokens_of_single_runs(goldens):
    rows = goldens.model.generate(**batch_of(goldens, RECORDS), do_sample=False, max_new_tokens=80)
    stored = [goldens[f"{record}.greedy_codes"] for record in RECORDS]
    assert all(torch.equal(row, single) for row, single in zip(goldens.model.split_codes(rows), stored, strict=True))


@torch.no_grad()
def test_batch_gives_the_audio_of_single_runs(goldens):
    model, codes = goldens.model, [goldens[f"{record}.flow.codes"] for record in RECORDS]
    voices = torch.stack([goldens[f"{record}.xvec"] for record in RECORDS]).unsqueeze(1)
    lengths = torch.tensor([len(row) for row in codes])
    padded = torch.nn.utils.rnn.pad_sequence(codes, batch_first=True)
    for mask_type in (0, 2):
        mel = model.flow.sample(padded, lengths, voices, mask_type=mask_type)
        for i, record in enumerate(RECORDS):
            close(mel[i, : 2 * lengths[i]], goldens[f"{record}.flow.mel_mode{mask_type}"], 1e-4)
            assert not mel[i, 2 * lengths[i] :].any()
    stored = [goldens[f"{record}.flow.mel_mode0"] for record in RECORDS]
    mel = torch.nn.utils.rnn.pad_sequence(stored, batch_first=True, padding_value=3.0)
    waves, samples = model.vocoder(mel, lengths * 2)
    for i, record in enumerate(RECORDS):
        close(waves[i, : samples[i]], goldens[f"{record}.voc.wav"], 1e-4)
        assert not waves[i, samples[i] :].any()
