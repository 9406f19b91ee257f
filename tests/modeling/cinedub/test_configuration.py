from __future__ import annotations

import pytest
import torch
from transformers import AutoConfig

from cineforge_hf.modeling.cinedub import CineDubConfig, CineDubFlowConfig, CineDubForConditionalGeneration, CineDubVocoderConfig


def test_unknown_keys_are_refused_with_the_nearest_name():
    with pytest.raises(ValueError, match="no setting 'codebok_size'; did you mean 'codebook_size'"):
        CineDubConfig(codebok_size=3)
    with pytest.raises(ValueError, match="CineDubFlowConfig has no setting 'hiden_size'"):
        CineDubConfig(flow_config={"hiden_size": 3})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CineDubConfig(codebook_size=6500), "the flow's codebook_size 6561 must be the model's 6500"),
        (lambda: CineDubConfig(eos_token_id=5), "eos_token_id 5 must be a special id, 6561 to 6760"),
        (lambda: CineDubFlowConfig(head_dim=60), "hidden_size 1024 must be num_attention_heads 16 x head_dim 60"),
        (lambda: CineDubFlowConfig(causal_blocks=[0]), "causal_blocks must be -1 or positive"),
        (lambda: CineDubVocoderConfig(upsample_rates=[8]), "one entry per stage"),
        (lambda: CineDubVocoderConfig(hidden_size="big"), "hidden_size"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(make, message):
    with pytest.raises(Exception, match=message):
        make()


def test_json_round_trip(tmp_path):
    config = CineDubConfig(face_size=256, flow_config={"num_hidden_layers": 3})
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert type(loaded) is CineDubConfig
    assert loaded.to_diff_dict() | {"_name_or_path": ""} == config.to_diff_dict() | {"_name_or_path": ""}
    assert loaded.flow_config.num_hidden_layers == 3


def test_released_sizes():
    """Counts of spec section 9.1, on a model that takes no memory."""
    with torch.device("meta"):
        model = CineDubForConditionalGeneration(CineDubConfig())

    def count(*modules):
        return sum(p.numel() for module in modules for p in module.parameters())

    assert count(model.language_model) == 494_032_768
    assert count(model.codec_embed) == count(model.codec_head) == 6_057_856
    assert count(model.timespk_embed) == 1_388_800
    assert count(model.face_proj) == 459_648
    language = (model.language_model, model.codec_embed, model.codec_head, model.timespk_embed, model.face_proj)
    assert count(*language) == 507_996_928
    assert count(model.flow.code_embed) == 524_880
    assert count(model.flow.lookahead) == 574_544
    assert count(model.flow.speaker_proj) == 15_440
    assert count(model.flow.dit) == 331_142_224
    assert count(model.flow.dit.blocks) == 323_254_272
    assert count(model.flow) == 332_257_088
    assert count(model.vocoder.f0_predictor) == 3_312_641
    assert count(model.vocoder.resblocks) == 10_854_144
    assert count(model.vocoder) == 20_765_597
    assert count(model.speaker_encoder) == 6_848_544
