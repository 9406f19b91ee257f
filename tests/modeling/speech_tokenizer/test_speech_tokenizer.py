"""Our tokenizer against the `s3tokenizer` package on random weights, and its conversion."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import AutoFeatureExtractor, AutoModel

from cineforge_hf.errors import UsageError
from cineforge_hf.modeling.speech_tokenizer import SpeechTokenizerConfig, SpeechTokenizerFeatureExtractor, SpeechTokenizerModel
from cineforge_hf.modeling.speech_tokenizer.convert_speech_tokenizer import convert_speech_tokenizer, load_speech_tokenizer


@pytest.fixture(scope="module")
def package():
    """The package's model with weights that spread the tokens."""
    pytest.importorskip("s3tokenizer", reason="the package s3tokenizer is for tests only and not installed")
    from s3tokenizer.model_v3 import ModelConfigV3, S3TokenizerV3

    torch.manual_seed(0)
    model = S3TokenizerV3("v3", ModelConfigV3(n_audio_state=128, n_audio_head=2, n_audio_layer=3)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.06 if parameter.ndim > 1 else 0.2)
        model.quantizer._codebook.project_down.weight.mul_(4)
        hidden, _ = model.encoder(torch.randn(1, 128, 400), torch.tensor([400]))
        mean = model.quantizer._codebook.project_down(hidden).mean((0, 1))
        model.quantizer._codebook.project_down.bias.sub_(mean)
    return model


@pytest.fixture(scope="module")
def waves():
    rng = np.random.default_rng(0)
    shapes = np.hanning(4000)
    return [(0.1 * rng.standard_normal(n) * np.resize(shapes, n)).astype(np.float32) for n in (16000, 7777, 31999)]


def onnx_file(package, path):
    """Writes the package's weights under the node names of the published file."""
    from onnx import TensorProto, helper, numpy_helper, save

    state = {key: value.numpy() for key, value in package.state_dict().items()}
    nodes, weights = [], []

    def store(array):
        weights.append(numpy_helper.from_array(np.ascontiguousarray(array), f"onnx::w_{len(weights)}"))
        return weights[-1].name

    def node(op, name, *inputs):
        nodes.append(helper.make_node(op, list(inputs), [f"{name}_out"], name=name))

    def linear(scope, key):
        node("MatMul", f"{scope}/MatMul", "x", store(state[f"{key}.weight"].T))
        if f"{key}.bias" in state:
            node("Add", f"{scope}/Add", store(state[f"{key}.bias"]), f"{scope}/MatMul_out")

    for i in (1, 2):
        node("Conv", f"/conv{i}/Conv", "x", store(state[f"encoder.conv{i}.weight"]), store(state[f"encoder.conv{i}.bias"]))
    for i in range(3):
        for norm in ("attn_ln", "mlp_ln"):
            node("Add", f"/blocks.{i}/{norm}/Add", "x", store(np.float32(1e-5)))
            node("Mul", f"/blocks.{i}/{norm}/Mul", "x", store(state[f"encoder.blocks.{i}.{norm}.weight"]))
            node("Add", f"/blocks.{i}/{norm}/Add_1", "x", store(state[f"encoder.blocks.{i}.{norm}.bias"]))
        for part in ("query", "key", "value", "out"):
            linear(f"/blocks.{i}/attn/{part}", f"encoder.blocks.{i}.attn.{part}")
        node("MatMul", f"/blocks.{i}/attn/MatMul", "x", "x")
        weights.append(
            numpy_helper.from_array(state[f"encoder.blocks.{i}.attn.fsmn_block.weight"], f"blocks.{i}.attn.fsmn_block.weight")
        )
        node("Conv", f"/blocks.{i}/attn/fsmn_block/Conv", "x", weights[-1].name)
        for part in (0, 2):
            linear(f"/blocks.{i}/mlp/mlp.{part}", f"encoder.blocks.{i}.mlp.{part}")
    node("MatMul", "/quantizer/project_in/MatMul", "x", store(state["quantizer._codebook.project_down.weight"].T))
    bias = numpy_helper.from_array(state["quantizer._codebook.project_down.bias"], "quantizer.project_in.bias")
    weights.append(bias)
    node("Add", "/quantizer/project_in/Add", bias.name, "/quantizer/project_in/MatMul_out")
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, None)]
    outputs = [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)]
    save(helper.make_model(helper.make_graph(nodes, "s3", inputs, outputs, weights)), path)


@torch.no_grad()
def test_same_features_hidden_states_and_tokens_as_the_package(package, waves, tmp_path):
    import s3tokenizer

    torch.save(package.state_dict(), tmp_path / "v3.pt")
    ours = load_speech_tokenizer(tmp_path / "v3.pt")
    features = SpeechTokenizerFeatureExtractor()(waves, sampling_rate=16000, return_tensors="pt")
    for i, wave in enumerate(waves):
        mel = s3tokenizer.log_mel_spectrogram(torch.from_numpy(wave))
        assert torch.allclose(features["input_features"][i, : mel.shape[1]], mel.T, atol=1e-4)
    mels = [torch.randn(128, length) for length in (400, 233, 90)]
    padded, lengths = s3tokenizer.padding(mels)
    hidden, theirs_lengths = package.encoder(padded, lengths)
    theirs, _ = package.quantize(padded, lengths)
    output = ours(padded.transpose(1, 2), lengths)
    assert output.code_lengths.tolist() == theirs_lengths.tolist()
    for i, length in enumerate(theirs_lengths.tolist()):
        assert torch.allclose(output.hidden_states[i, :length], hidden[i, :length], atol=2e-4)
        assert torch.equal(output.codes[i, :length], theirs[i, :length].long())
        assert bool((output.codes[i, length:] == -1).all())
    assert len(output.codes.unique()) > 50


@torch.no_grad()
def test_conversion_from_onnx(package, tmp_path):
    onnx_file(package, tmp_path / "speech_tokenizer_v3.onnx")
    from s3tokenizer.model_v3 import S3TokenizerV3

    reread = S3TokenizerV3("v3", package.config)
    reread.init_from_onnx(str(tmp_path / "speech_tokenizer_v3.onnx"))
    for key, value in package.state_dict().items():
        assert torch.equal(reread.state_dict()[key], value), f"the made file is not as the package expects: {key}"
    convert_speech_tokenizer(tmp_path / "speech_tokenizer_v3.onnx", tmp_path / "ours")
    ours = AutoModel.from_pretrained(tmp_path / "ours").eval()
    assert type(ours) is SpeechTokenizerModel
    assert type(AutoFeatureExtractor.from_pretrained(tmp_path / "ours")) is SpeechTokenizerFeatureExtractor
    torch.save(package.state_dict(), tmp_path / "v3.pt")
    features = torch.randn(1, 120, 128)
    assert torch.equal(ours(features).codes, load_speech_tokenizer(tmp_path / "v3.pt")(features).codes)


@torch.no_grad()
def test_padding_changes_no_token(waves):
    torch.manual_seed(0)
    model = SpeechTokenizerModel(SpeechTokenizerConfig(hidden_size=64, num_hidden_layers=2, num_attention_heads=1)).eval()
    model.code_proj.weight.mul_(50)
    extractor = SpeechTokenizerFeatureExtractor()
    together = model(**extractor(waves, sampling_rate=16000, return_tensors="pt"))
    for i, wave in enumerate(waves):
        alone = model(**extractor(wave, sampling_rate=16000, return_tensors="pt"))
        assert torch.equal(together.codes[i, : alone.codes.shape[1]], alone.codes[0])
        assert int(together.code_lengths[i]) == alone.codes.shape[1]


def test_released_size():
    with torch.device("meta"):
        model = SpeechTokenizerModel(SpeechTokenizerConfig())
    assert sum(p.numel() for p in model.parameters()) == 242_009_608
    assert model.config.codebook_size == 6561


def test_other_sampling_rates_and_channels(waves):
    extractor = SpeechTokenizerFeatureExtractor()
    stereo = np.stack([np.repeat(waves[0], 2)] * 2)
    assert extractor(stereo, sampling_rate=32000)["input_features"].shape == (1, 100, 128)


def test_refusals(tmp_path):
    model = SpeechTokenizerModel(SpeechTokenizerConfig(hidden_size=64, num_hidden_layers=1, num_attention_heads=1))
    with pytest.raises(ValueError, match="at most 60 s at once"):
        model(torch.zeros(1, 6001, 128))
    with pytest.raises(UsageError, match="no such file"):
        load_speech_tokenizer(tmp_path / "none.onnx")
    (tmp_path / "cut.onnx").write_bytes(b"\x08\x07\x12")
    with pytest.raises(UsageError, match=r"cut\.onnx: damaged or truncated"):
        load_speech_tokenizer(tmp_path / "cut.onnx")
    torch.save({"conv9.weight": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(UsageError, match=r"unknown key 'conv9\.weight'"):
        load_speech_tokenizer(tmp_path / "other.pt")
    torch.save({"encoder.conv1.weight": torch.zeros(64, 128, 3)}, tmp_path / "half.pt")
    with pytest.raises(UsageError, match=r"without 'layers\.0\.attention\.memory\.weight'"):
        load_speech_tokenizer(tmp_path / "half.pt")
