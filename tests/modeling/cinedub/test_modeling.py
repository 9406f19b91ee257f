"""The tiny model: saving, dtypes, gradients, adapters, batches. No goldens."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModel, AutoModelForTextToWaveform

from cineforge_hf.modeling.cinedub import CineDubForConditionalGeneration
from cineforge_hf.modeling.cinedub.modeling_cinedub_flow import CineDubFlowModel
from cineforge_hf.modeling.cinedub.modeling_cinedub_vocoder import CineDubVocoder
from tiny_cinedub import random_prompts, single

PROMPT = ("input_ids", "token_type_ids", "attention_mask", "face_values")


def training_batch(seed=0):
    """Prompts with 8 speech tokens behind them, padded on the right."""
    prompts = random_prompts(2, seed)
    rows = [single(prompts, i) for i in range(2)]
    speech = torch.tensor([[0, 1, 0, 5, 63, 2, 3, 65]])
    longest = max(row["input_ids"].shape[1] for row in rows)
    batch = {"input_ids": [], "token_type_ids": [], "attention_mask": [], "labels": []}
    for row in rows:
        size = row["input_ids"].shape[1]
        parts = {
            "input_ids": (row["input_ids"], speech, 0),
            "token_type_ids": (row["token_type_ids"], torch.full_like(speech, 2), 0),
            "attention_mask": (row["attention_mask"], torch.ones_like(speech), 0),
            "labels": (torch.full((1, size), -100), speech, -100),
        }
        for name, (prompt, target, fill) in parts.items():
            joined = torch.cat([prompt, target], dim=1)
            batch[name].append(torch.nn.functional.pad(joined, (0, longest - size), value=fill))
    return {name: torch.cat(values) for name, values in batch.items()} | {"face_values": prompts["face_values"]}


def flow_batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {
        "codes": torch.randint(64, (2, 20), generator=generator),
        "code_lengths": torch.tensor([20, 13]),
        "mel": torch.randn(2, 40, 80, generator=generator),
        "speaker_embeds": torch.randn(2, 2, 24, generator=generator),
        "speaker_frames": (torch.arange(20) >= 9).long().expand(2, -1),
    }


@torch.no_grad()
def test_save_and_load_give_the_same_numbers(tiny, tmp_path):
    tiny.save_pretrained(tmp_path, max_shard_size="300KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    prompts = {name: random_prompts(2)[name] for name in PROMPT}
    for loader in (CineDubForConditionalGeneration, AutoModel, AutoModelForTextToWaveform):
        loaded = loader.from_pretrained(tmp_path).eval()
        assert type(loaded) is CineDubForConditionalGeneration
        assert torch.equal(loaded(**prompts).logits, tiny(**prompts).logits)
    assert loaded.generation_config.ras_top_k == 25
    batch = flow_batch()
    arguments = (batch["codes"], batch["code_lengths"], batch["speaker_embeds"], batch["speaker_frames"])
    mel = tiny.flow.sample(*arguments)
    assert torch.equal(loaded.flow.sample(*arguments), mel)
    assert torch.equal(loaded.vocoder(mel)[0], tiny.vocoder(mel)[0])


@torch.no_grad()
def test_parts_load_alone(tiny, tmp_path):
    for part, kind in ((tiny.flow, CineDubFlowModel), (tiny.vocoder, CineDubVocoder), (tiny.speaker_encoder, None)):
        part.save_pretrained(tmp_path / type(part).__name__)
        loaded = AutoModel.from_pretrained(tmp_path / type(part).__name__)
        assert type(loaded) is (kind or type(part))
        ours, theirs = part.state_dict(), loaded.state_dict()
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_no_buffer_is_lost_by_saving(tiny):
    """What is neither in a checkpoint nor restored by transformers would come back as garbage."""
    stored = tiny.state_dict().keys()
    unsaved = [name for name, _ in tiny.named_buffers() if name not in stored]
    assert all(name.startswith("language_model.rotary_emb.") for name in unsaved)


@torch.no_grad()
def test_padding_changes_no_logit(tiny):
    batch = random_prompts(4)
    together = tiny(**{name: batch[name] for name in PROMPT}).logits[:, -1]
    for i in range(4):
        alone = tiny(**{name: single(batch, i)[name] for name in PROMPT}).logits[0, -1]
        assert torch.allclose(together[i], alone, atol=1e-5)


def test_unknown_gender_is_row_zero_and_times_are_looked_up(tiny):
    ids, types = torch.tensor([[-100, 0, 7]]), torch.full((1, 3), 1)
    embeds = tiny.embed_prompt(ids, types)
    assert torch.equal(embeds[0, 0], embeds[0, 1])
    assert torch.equal(embeds[0, 2], tiny.timespk_embed.weight[7])


def test_gradients_reach_every_row_that_was_seen(tiny):
    tiny.train()
    loss = tiny(**training_batch()).loss
    loss.backward()
    assert tiny.codec_embed.weight.grad[0].abs().sum() > 0  # speech token 0, which the published table freezes
    assert tiny.timespk_embed.weight.grad[0].abs().sum() > 0
    assert tiny.face_proj.weight.grad.abs().sum() > 0
    assert tiny.language_model.embed_tokens.weight.grad.abs().sum() > 0


def test_loss_is_on_the_speech_only(tiny):
    batch = training_batch()
    loss, logits = tiny(**batch)[:2]
    per_row = []
    for row in range(2):
        learnt = batch["labels"][row] != -100
        positions = learnt.nonzero().flatten()
        per_row.append(torch.nn.functional.cross_entropy(logits[row, positions - 1], batch["labels"][row, positions]))
    assert float(loss.detach()) == pytest.approx(float(sum(per_row).detach() / 2), rel=1e-5)


def test_one_of_ids_and_embeddings(tiny):
    with pytest.raises(ValueError, match="either input_ids or inputs_embeds"):
        tiny()


def test_gradient_checkpointing_changes_no_gradient(tiny):
    gradients = {}
    for checkpointing in (False, True):
        tiny.train()
        tiny.zero_grad()
        if checkpointing:
            tiny.activation_checkpointing_enable()
            assert tiny.flow.dit.blocks[0].gradient_checkpointing
        torch.manual_seed(1)
        (tiny(**training_batch()).loss + tiny.flow(**flow_batch()).loss).backward()
        gradients[checkpointing] = {name: p.grad.clone() for name, p in tiny.named_parameters() if p.grad is not None}
    assert gradients[True].keys() == gradients[False].keys()
    for name, gradient in gradients[False].items():
        assert torch.allclose(gradients[True][name], gradient, atol=1e-6), name


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_dubs(tiny, tmp_path, dtype):
    tiny.save_pretrained(tmp_path)
    half = CineDubForConditionalGeneration.from_pretrained(tmp_path, dtype=dtype).eval()
    assert half.dtype == dtype
    prompts = random_prompts(2)
    speech = half.generate_speech(**prompts, seed=0)
    for wave, length in zip(speech.waveforms, prompts["speech_lengths"].tolist(), strict=True):
        assert wave.shape == (960 * length,)
        assert bool(wave.isfinite().all())
    exact = tiny.vocoder(tiny.flow.sample(speech.codes[0][None], prompts["speech_lengths"][:1], prompts["speaker_embeds"][:1]))
    assert (exact[0][0] - speech.waveforms[0]).abs().mean() < 0.1


def test_flow_loss_learns(tiny):
    flow = tiny.flow.train()
    optimizer = torch.optim.Adam(flow.parameters(), lr=3e-3)
    batch = flow_batch()
    torch.manual_seed(0)
    losses = []
    for _ in range(40):
        loss = flow(**batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-8:]) < 0.9 * sum(losses[:8])


def test_flow_loss_refuses_a_mel_of_another_length(tiny):
    with pytest.raises(ValueError, match="20 tokens make 40 mel frames, but the mel has 39"):
        tiny.flow(**(flow_batch() | {"mel": torch.zeros(2, 39, 80)}))


def test_lora_on_the_language_model_and_the_flow(tiny, tmp_path):
    pattern = r"language_model\..*\.(q|k|v|o)_proj|flow\.dit\.blocks\..*\.attention\.(q|k|v|o)_proj"
    adapted = get_peft_model(tiny, LoraConfig(r=2, target_modules=pattern, modules_to_save=["face_proj"]))
    trainable = [name for name, p in adapted.named_parameters() if p.requires_grad]
    assert any("language_model" in name for name in trainable)
    assert any("flow.dit.blocks.1" in name for name in trainable)
    assert not any("vocoder" in name or "codec_embed" in name for name in trainable)
    optimizer = torch.optim.SGD([p for p in adapted.parameters() if p.requires_grad], lr=1.0)
    batch = training_batch()
    (adapted(**batch).loss + tiny.flow(**flow_batch()).loss).backward()
    optimizer.step()
    adapted.eval()
    prompts = random_prompts(2)
    tokens = adapted.generate(**prompts, do_sample=False, max_new_tokens=5, min_new_tokens=0)
    merged = adapted.merge_and_unload()
    assert torch.equal(merged.generate(**prompts, do_sample=False, max_new_tokens=5, min_new_tokens=0), tokens)


@torch.no_grad()
def test_flow_padding_and_voices(tiny):
    batch = flow_batch()
    arguments = (batch["codes"], batch["code_lengths"], batch["speaker_embeds"], batch["speaker_frames"])
    for mask_type in range(4):
        together = tiny.flow.sample(*arguments, mask_type=mask_type)
        alone = tiny.flow.sample(*(a[1:, :13] if a.ndim == 2 else a[1:] for a in arguments), mask_type=mask_type)
        assert torch.allclose(together[1, :26], alone[0], atol=1e-5)
        assert not together[1, 26:].any()
    condition = tiny.flow.embed_speakers(batch["speaker_embeds"], 44, batch["speaker_frames"])
    first, second = tiny.flow.embed_speakers(batch["speaker_embeds"], 1)[:, 0], condition[:, -1]
    assert torch.equal(condition[:, :18], first[:, None].expand(-1, 18, -1))
    assert torch.equal(condition[:, 18:], second[:, None].expand(-1, 26, -1))
    assert not torch.allclose(first, second)


@torch.no_grad()
def test_a_broken_voice_counts_as_none(tiny):
    voices = torch.full((1, 1, 24), torch.nan)
    assert torch.equal(tiny.flow.embed_speakers(voices, 3), tiny.flow.embed_speakers(torch.zeros(1, 1, 24), 3))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mask_type": 4}, "mask_type 4 must be 0 to 3"),
        ({"finalize": False}, "streaming takes one record"),
        ({"codes": torch.full((2, 20), 64)}, "speech token 64 is outside the codebook of 64"),
    ],
)
def test_flow_refuses(tiny, arguments, message):
    batch = {name: flow_batch()[name] for name in ("codes", "code_lengths", "speaker_embeds")}
    with pytest.raises(ValueError, match=message):
        tiny.flow.sample(**(batch | arguments))


def test_vocoder_refuses_a_short_stream(tiny):
    with pytest.raises(ValueError, match="more than 8 mel frames"):
        tiny.vocoder(torch.zeros(1, 8, 80), finalize=False)
