"""The converted model against numbers of the published implementation, at the tolerances stored with them."""

from __future__ import annotations

import pytest
import torch

RECORDS = ("en_monologue_1", "en_dialogue_1", "zh_monologue_1")
pytestmark = pytest.mark.parametrize("record", RECORDS)


def close(ours, theirs, tolerance):
    assert ours.shape == theirs.shape
    assert float((ours - theirs).abs().max()) <= tolerance


def test_packing(goldens, record):
    inputs = goldens.inputs(record)
    types, ids = inputs["token_type_ids"][0], inputs["input_ids"][0]
    assert torch.equal(types, goldens[f"{record}.prompt_types"])
    assert torch.equal(ids[types != 3], goldens[f"{record}.packed_ids"])
    assert torch.equal(types[types != 3], goldens[f"{record}.packed_types"])
    track = goldens.tensors.get(f"{record}.face_track", torch.zeros_like(inputs["face_values"][0]))
    assert torch.equal(inputs["face_values"][0], track)


@torch.no_grad()
def test_prompt_and_logits(goldens, record):
    model, inputs = goldens.model, goldens.inputs(record)
    embeds = model.embed_prompt(inputs["input_ids"], inputs["token_type_ids"], inputs["face_values"])
    close(embeds[0], goldens[f"{record}.prompt_embeds"], 1e-5)
    hidden = model.language_model(inputs_embeds=embeds).last_hidden_state[0, -1]
    close(hidden, goldens[f"{record}.prompt_last_hidden"], 1e-4)
    names = ("input_ids", "token_type_ids", "attention_mask", "face_values")
    logits = model(**{name: inputs[name] for name in names}, logits_to_keep=1).logits
    close(logits[0, 0], goldens[f"{record}.first_logits"], 1e-4)
    codes = goldens[f"{record}.tf_codes"][None]
    forced = model(inputs_embeds=torch.cat([embeds, model.codec_embed(codes)], dim=1)).logits
    close(forced[0, -8:], goldens[f"{record}.tf_logits_last8"], 1e-4)


@torch.no_grad()
def test_training_loss(goldens, record):
    model, inputs = goldens.model, goldens.inputs(record)
    codes = goldens[f"{record}.tf_codes"]
    speech = torch.cat([codes, torch.tensor([model.config.eos_token_id])])[None]
    prompt = inputs["input_ids"].shape[1]
    labels = torch.cat([torch.full((1, prompt), -100), speech], dim=1)
    loss = model(
        torch.cat([inputs["input_ids"], speech], dim=1),
        token_type_ids=torch.cat([inputs["token_type_ids"], torch.full_like(speech, 2)], dim=1),
        face_values=inputs["face_values"],
        labels=labels,
    ).loss
    assert float(loss) == pytest.approx(goldens.facts["records"][record]["facts"]["tf_ce_loss"], abs=1e-5)


def test_greedy_tokens(goldens, record):
    sequences = goldens.model.generate(**goldens.inputs(record), do_sample=False, max_new_tokens=80)
    assert torch.equal(goldens.model.split_codes(sequences)[0], goldens[f"{record}.greedy_codes"])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_sampled_tokens(goldens, record, seed):
    sequences = goldens.model.generate(**goldens.inputs(record), seed=seed, max_new_tokens=160)
    assert torch.equal(goldens.model.split_codes(sequences)[0], goldens[f"{record}.ras_codes_seed{seed}"])


@torch.no_grad()
def test_voice(goldens, record):
    model, inputs = goldens.model, goldens.inputs(record)
    theirs = goldens[f"{record}.fbank"]
    close(inputs["speaker_features"][0, 0], theirs, 1e-3)
    assert float((inputs["speaker_features"][0, 0] - theirs).abs().mean()) <= 1e-5
    close(model.speaker_encoder(theirs[None]).embeddings[0], goldens[f"{record}.xvec"], 1e-4)
    close(model.embed_voices(inputs["speaker_features"])[0, 0], goldens[f"{record}.xvec"], 5e-3)


@torch.no_grad()
def test_flow_conditions(goldens, record):
    flow, codes = goldens.model.flow, goldens[f"{record}.flow.codes"][None]
    mu = flow.embed_codes(codes)
    close(mu[0], goldens[f"{record}.flow.mu"], 1e-5)
    speaker = flow.embed_speakers(goldens[f"{record}.xvec"][None, None], mu.shape[1])
    close(speaker[0, 0], goldens[f"{record}.flow.spk"], 1e-5)
    conditions = torch.cat([torch.zeros_like(mu), mu, speaker], dim=-1)
    conditions = torch.cat([conditions, torch.zeros_like(conditions)])
    noise = goldens["noise.flow_first200"][: mu.shape[1]].expand(2, -1, -1)
    velocity = flow.dit(noise, conditions, flow.dit.modulations(torch.zeros(1)), None)
    close(velocity, goldens[f"{record}.flow.dit_step1"], 1e-4)


@pytest.mark.parametrize("mask_type", range(4))
def test_mel(goldens, record, mask_type):
    codes = goldens[f"{record}.flow.codes"][None]
    lengths, voice = torch.tensor([codes.shape[1]]), goldens[f"{record}.xvec"][None, None]
    mel = goldens.model.flow.sample(codes, lengths, voice, mask_type=mask_type)
    close(mel[0], goldens[f"{record}.flow.mel_mode{mask_type}"], 2e-4)


@torch.no_grad()
def test_waveform(goldens, record):
    vocoder, mel = goldens.model.vocoder, goldens[f"{record}.flow.mel_mode0"][None]
    close(vocoder.predict_f0(mel)[0], goldens[f"{record}.voc.f0"], 1e-3)
    close(vocoder.make_source(goldens[f"{record}.voc.f0"][None])[0], goldens[f"{record}.voc.source"], 1e-5)
    wave, samples = vocoder.decode(mel, goldens[f"{record}.voc.source"][None], torch.tensor([mel.shape[1]]))
    assert int(samples) == 480 * mel.shape[1]
    close(wave[0], goldens[f"{record}.voc.wav"], 1e-5)
    close(vocoder(mel)[0][0], goldens[f"{record}.voc.wav"], 2e-3)


def test_end_to_end(goldens, record):
    settings = {"match_length": False, "codebook_only": False, "max_new_tokens": 160}
    speech = goldens.model.generate_speech(**goldens.inputs(record), seed=0, **settings)
    assert torch.equal(speech.codes[0], goldens[f"{record}.flow.codes"])
    close(speech.waveforms[0], goldens[f"{record}.e2e_wav"], 2e-3)
