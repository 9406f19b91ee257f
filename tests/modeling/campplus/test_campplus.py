"""The speaker encoder on random weights; its numbers are checked with the goldens in `cinedub/`."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModel

from cineforge_hf.modeling.campplus import CampPlusConfig, CampPlusModel


@pytest.fixture
def model():
    torch.manual_seed(0)
    config = CampPlusConfig(head_channels=4, hidden_size=16, growth=4, block_layers=[2, 2, 2], embed_size=24, segment_frames=10)
    model = CampPlusModel(config).eval()
    for parameter in model.parameters():
        parameter.data.mul_(8.0 if parameter.ndim > 1 else 1.0)  # otherwise the signal dies out from layer to layer
    return model


@torch.no_grad()
def test_rows_of_different_lengths_are_computed_as_if_alone(model):
    features = torch.randn(3, 90, 80)
    lengths = torch.tensor([90, 41, 90])
    together = model(features, lengths).embeddings
    for row, length in enumerate(lengths.tolist()):
        assert torch.allclose(together[row], model(features[row : row + 1, :length]).embeddings[0], rtol=1e-3)
    assert not torch.allclose(together[1], model(features).embeddings[1], atol=1e-3)


@torch.no_grad()
def test_save_and_load(model, tmp_path):
    model.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path).eval()
    features = torch.randn(1, 60, 80)
    assert type(loaded) is CampPlusModel
    assert torch.equal(loaded(features).embeddings, model(features).embeddings)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"num_mel_bins": 81}, "num_mel_bins 81 must be divisible by 8"),
        ({"block_layers": [1, 2]}, "one entry per block"),
        ({"growht": 3}, "did you mean 'growth'"),
        ({"growth": "3"}, "growth"),
    ],
)
def test_sizes_are_checked(sizes, message):
    with pytest.raises(Exception, match=message):
        CampPlusConfig(**sizes)
