"""Decoding rules on the tiny model."""

from __future__ import annotations

import pytest
import torch
from transformers import LogitsProcessorList

from cineforge_hf.modeling.cinedub.generation_cinedub import CodebookOnly, LengthControl, RepetitionAwareSampler
from tiny_cinedub import random_prompts, single

EOS = 65


def reference_draw(scores, tokens, generator, top_p=0.8, top_k=25, window=10, tau=0.1):
    """The published rule, as the specification words it, one token at a time."""
    p = scores.softmax(-1)
    order = p.sort(descending=True, stable=True)
    kept, mass = [], 0.0
    for value in order.values:
        if mass >= top_p or len(kept) == top_k:
            break
        kept.append(value)
        mass += float(value)
    choice = order.indices[torch.multinomial(torch.stack(kept), 1, replacement=True, generator=generator)]
    if (tokens[-window:] == choice).sum() >= window * tau:
        choice = torch.multinomial(p, 1, replacement=True, generator=generator)
    return int(choice)


def test_sampler_follows_the_published_rule():
    torch.manual_seed(0)
    sampler = RepetitionAwareSampler(0.8, 25, 10, 0.1, seeds=[7, 8])
    generators = [torch.Generator().manual_seed(seed) for seed in (7, 8)]
    tokens = torch.zeros(2, 0, dtype=torch.long)
    fallbacks = 0
    for _ in range(60):
        scores = 4 * torch.randn(2, 40)
        result = sampler(tokens, scores)
        assert bool(((result == 0).sum(-1) == 1).all())
        chosen = result.argmax(-1)
        states = [g.get_state() for g in generators]
        expected = [reference_draw(scores[i], tokens[i], generators[i]) for i in range(2)]
        assert chosen.tolist() == expected
        for i, state in enumerate(states):
            once = torch.Generator()
            once.set_state(state)
            torch.multinomial(torch.ones(1), 1, replacement=True, generator=once)
            fallbacks += int(expected[i] in tokens[i, -10:])
        tokens = torch.cat([tokens, chosen[:, None]], dim=1)
    assert fallbacks > 0


def test_processors():
    scores = torch.zeros(2, 72)
    length = LengthControl(torch.tensor([0, 3]), EOS)(torch.zeros(2, 0, dtype=torch.long), scores)
    assert length[0].isfinite().nonzero().tolist() == [[EOS]]
    assert length[1].isfinite().sum() == 71
    assert not length[1, EOS].isfinite()
    only = CodebookOnly(64, EOS)(torch.zeros(2, 0, dtype=torch.long), scores)
    assert only[0].isfinite().nonzero().flatten().tolist() == [*range(64), EOS]


def test_length_control_holds_for_many_prompts(tiny):
    """50 random prompts: the speech is as long as the picture, to the frame."""
    prompts = random_prompts(50, seed=3, frames=(1, 30))
    speech = tiny.generate_speech(**prompts, seed=0)
    assert [len(codes) for codes in speech.codes] == prompts["speech_lengths"].tolist()
    assert [len(wave) for wave in speech.waveforms] == (960 * prompts["speech_lengths"]).tolist()
    assert all(int(codes.max()) < 64 for codes in speech.codes)


def test_released_rules_are_the_default_of_generate(tiny):
    prompts = random_prompts(3)
    tokens = tiny.generate(**prompts, seed=1, max_new_tokens=80)
    rows = tiny.split_codes(tokens)
    assert all(len(row) >= 50 for row in rows)
    assert any(int(row.max()) > EOS for row in rows)  # specials may be sampled, as in the release
    assert any(len(row) != length for row, length in zip(rows, prompts["speech_lengths"].tolist(), strict=True))


def test_seeds(tiny):
    prompts = random_prompts(2, seed=1)
    settings = {"min_new_tokens": 0, "max_new_tokens": 12}
    first = tiny.generate(**prompts, seed=4, **settings)
    assert torch.equal(tiny.generate(**prompts, seed=4, **settings), first)
    assert not torch.equal(tiny.generate(**prompts, seed=5, **settings), first)
    torch.manual_seed(9)
    unseeded = tiny.generate(**prompts, **settings)
    torch.manual_seed(9)
    assert torch.equal(tiny.generate(**prompts, **settings), unseeded)
    with pytest.raises(ValueError, match="3 seeds for 2 records"):
        tiny.generate(**prompts, seed=[1, 2, 3], **settings)


def test_rows_of_a_batch_are_single_runs(tiny):
    prompts = random_prompts(8, seed=2, frames=(4, 24))
    for settings in ({"do_sample": False}, {"seed": [3, 1, 4, 1, 5, 9, 2, 6]}):
        speech = tiny.generate_speech(**prompts, **settings)
        for i in range(8):
            own = {"seed": settings["seed"][i]} if "seed" in settings else settings
            alone = tiny.generate_speech(**single(prompts, i), **own)
            assert torch.equal(speech.codes[i], alone.codes[0])
            assert torch.allclose(speech.waveforms[i], alone.waveforms[0], atol=1e-4)


def test_several_takes_of_a_record(tiny):
    prompts = random_prompts(2, seed=5)
    speech = tiny.generate_speech(**prompts, seed=10, num_return_sequences=2)
    assert [len(codes) for codes in speech.codes] == prompts["speech_lengths"].repeat_interleave(2).tolist()
    second = tiny.generate_speech(**prompts, seed=11)
    assert torch.equal(speech.codes[1], second.codes[0])
    assert torch.equal(speech.codes[3], second.codes[1])


def test_temperature_and_own_processors_apply_before_the_draw(tiny):
    class Only7:
        def __call__(self, input_ids, scores):
            return scores.masked_fill(torch.arange(scores.shape[-1]) != 7, -torch.inf)

    prompts = random_prompts(1)
    tokens = tiny.generate(**prompts, logits_processor=LogitsProcessorList([Only7()]), max_new_tokens=3, min_new_tokens=0)
    assert tokens.tolist() == [[7, 7, 7]]
    cold = tiny.generate(**prompts, temperature=1e-4, seed=3, max_new_tokens=6, min_new_tokens=0, ras_tau=1.1)
    assert torch.equal(cold, tiny.generate(**prompts, do_sample=False, max_new_tokens=6, min_new_tokens=0))


def test_nothing_generated_is_an_empty_waveform(tiny):
    prompts = {name: value for name, value in random_prompts(2).items() if name != "speech_lengths"}
    force_end = LogitsProcessorList([LengthControl(torch.tensor([0, 4]), EOS)])
    speech = tiny.generate_speech(**prompts, logits_processor=force_end, min_new_tokens=0, seed=0)
    assert [len(wave) for wave in speech.waveforms] == [0, 4 * 960]


def test_missing_inputs_are_named(tiny):
    prompts = random_prompts(1)
    with pytest.raises(ValueError, match="input_ids with token_type_ids"):
        tiny.generate(input_ids=prompts["input_ids"])
    with pytest.raises(ValueError, match="needs speaker_embeds or speaker_features"):
        tiny.generate_speech(**{name: value for name, value in prompts.items() if name != "speaker_embeds"})
    with pytest.raises(ValueError, match="match_length needs speech_lengths"):
        tiny.generate(**{name: value for name, value in prompts.items() if name != "speech_lengths"}, match_length=True)
    with pytest.raises(ValueError, match="temprature"):
        tiny.generate(**prompts, temprature=0.3)


def test_voices_switch_at_the_turn(tiny):
    prompts = random_prompts(1, seed=4, frames=(40, 41))
    codes = tiny.generate_speech(**prompts, seed=0).codes
    track = (torch.arange(40) >= 20).long()[None]
    one = tiny.decode_codes(codes, prompts["speaker_embeds"])[0]
    two = tiny.decode_codes(codes, prompts["speaker_embeds"], track, mask_type=1)[0]
    start = tiny.decode_codes(codes, prompts["speaker_embeds"], mask_type=1)[0]
    assert not torch.equal(one, two)
    # Under the narrow causal mask the past cannot see the second voice; the vocoder looks 8 mel frames ahead.
    assert torch.allclose(two[: 20 * 960 - 8 * 480], start[: 20 * 960 - 8 * 480], atol=1e-5)
    assert not torch.allclose(two[20 * 960 :], start[20 * 960 :], atol=1e-3)
