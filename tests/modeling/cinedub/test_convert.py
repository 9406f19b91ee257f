"""Conversion: nestings, weight norm, CosyVoice3's layout, and files that are refused."""

from __future__ import annotations

import json
import shutil
import struct

import pytest
import torch
from safetensors.torch import load_file

from cineforge_hf.errors import UsageError
from cineforge_hf.modeling.campplus.convert_campplus import load_campplus
from cineforge_hf.modeling.cinedub import CineDubForConditionalGeneration, convert_cinedub
from cineforge_hf.modeling.cinedub.convert_cinedub import Conversion, convert_release
from cineforge_hf.modeling.cinedub.convert_keys import FLOW, fold_weight_norm, rename
from cineforge_hf.modeling.weights import load_torch_file

LLM = "llm/ds-model.pt.best/mp_rank_00_model_states.pt"
FLOW_FILE = "flow/ds-model.pt.best/mp_rank_00_model_states.pt"
VOCODER = "vocoder/ds-model.pt.best/avg_5_removewn.pt"


@pytest.fixture
def release(parity, tmp_path):
    """A writable copy of the miniature release."""
    shutil.copytree(parity / "funcineforge_tiny", tmp_path / "release", copy_function=shutil.copyfile)
    for path in (tmp_path / "release").rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    (tmp_path / "release").chmod(0o755)
    return tmp_path / "release"


def change(path, edit):
    state = torch.load(path, weights_only=True)
    torch.save(edit(state), path)


def test_what_is_written(goldens):
    files = {path.name for path in goldens.folder.iterdir()}
    assert {"config.json", "generation_config.json", "model.safetensors", "processor_config.json", "README.md"} <= files
    assert {"tokenizer.json", "tokenizer_config.json"} <= files
    assert not any(name.endswith((".pt", ".bin", ".pkl")) for name in files)
    config = json.loads((goldens.folder / "config.json").read_text())
    assert config["flow_config"]["mel_fmax"] == 8000.0
    assert config["flow_config"]["causal_blocks"] == [-1, 2, 30, 60]
    assert config["flow_config"]["head_dim"] == 16
    generation = json.loads((goldens.folder / "generation_config.json").read_text())
    assert (generation["ras_top_p"], generation["ras_top_k"], generation["ras_window"], generation["ras_tau"]) == (
        0.8,
        25,
        10,
        0.1,
    )
    assert (generation["eos_token_id"], generation["min_new_tokens"], generation["max_new_tokens"]) == (6562, 50, 1500)
    card = (goldens.folder / "README.md").read_text()
    assert "license: apache-2.0" in card
    assert str(goldens.folder.parent) not in card


def test_weights_come_from_the_checkpoint_not_from_the_blank_model(goldens, parity):
    ours = load_file(goldens.folder / "model.safetensors")["language_model.embed_tokens.weight"]
    blank = load_file(parity / "funcineforge_tiny/Qwen2-0.5B-CosyVoice-BlankEN/model.safetensors")
    released = torch.load(parity / "funcineforge_tiny" / LLM, weights_only=True)["module.llm.model.embed_tokens.weight"]
    assert torch.equal(ours, released)
    assert not torch.equal(ours, blank["model.embed_tokens.weight"])


def test_nested_checkpoints(release, goldens, tmp_path):
    change(release / LLM, lambda state: {"module": {**state, "module.llm.lm_head.weight": torch.zeros(3, 64)}, "epoch": 3})
    change(release / FLOW_FILE, lambda state: {"step": 1, "model": {k.removeprefix("module."): v for k, v in state.items()}})
    conversion = convert_release(release, tmp_path / "out")
    assert "llm.lm_head.weight" in conversion.dropped
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (tmp_path / "out", goldens.folder))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize("nesting", ["state_dict", "model_state_dict", "model", "module"])
def test_nestings(tmp_path, nesting):
    torch.save({"epoch": 3, "args": {}, nesting: {"module.a.weight": torch.ones(2)}}, tmp_path / "x.pt")
    assert load_torch_file(tmp_path / "x.pt").keys() == {"a.weight"}


def test_weight_norm_is_folded():
    weight = torch.randn(4, 3, 5)
    norm = weight.flatten(1).norm(dim=1).view(4, 1, 1)
    for names in (("weight_g", "weight_v"), ("parametrizations.weight.original0", "parametrizations.weight.original1")):
        state = {f"ups.0.{names[0]}": norm, f"ups.0.{names[1]}": 7 * weight, "ups.0.bias": torch.zeros(4)}
        folded = fold_weight_norm(state)
        assert folded.keys() == {"ups.0.weight", "ups.0.bias"}
        assert torch.allclose(folded["ups.0.weight"], weight, atol=1e-6)
    with pytest.raises(UsageError, match="weight normalisation is incomplete"):
        fold_weight_norm({"ups.0.weight_g": norm})


def cosyvoice(release, folder):
    """The miniature under CosyVoice3's file and key names."""
    folder.mkdir()
    llm = load_torch_file(release / LLM)
    names = {"codec_embed.weight": "speech_embedding.weight", "codec_head.weight": "llm_decoder.weight"}
    renamed = {names.get(k, k.replace("llm.model.", "llm.model.model.")): v for k, v in llm.items()}
    dropped = ("timespk_embed", "face_linear")
    torch.save({k: v for k, v in renamed.items() if not k.startswith(dropped)}, folder / "llm.pt")
    pairs = (
        ("codec_embedder", "input_embedding"),
        ("lookahead_conv1d", "pre_lookahead_layer"),
        ("xvec_proj", "spk_embed_affine_layer"),
        ("dit_model", "decoder.estimator"),
    )
    flow = {}
    for key, value in load_torch_file(release / FLOW_FILE).items():
        for ours, theirs in pairs:
            key = key.replace(ours, theirs)
        if not key.startswith("mel_extractor"):
            flow[key] = value
    torch.save(flow, folder / "flow.pt")
    vocoder = {}
    for key, value in load_torch_file(release / VOCODER).items():
        key = key.removeprefix("generator.")
        if key.startswith("ups.") and key.endswith("weight"):
            norm = value.flatten(1).norm(dim=1).view(-1, 1, 1)
            base = key.removesuffix("weight") + "parametrizations.weight.original"
            vocoder |= {base + "0": norm, base + "1": value}
        else:
            vocoder[key] = value
    torch.save(vocoder, folder / "hift.pt")
    shutil.copyfile(release / "camplus.onnx", folder / "campplus.onnx")
    shutil.copytree(release / "Qwen2-0.5B-CosyVoice-BlankEN", folder / "CosyVoice-BlankEN")
    return folder


def test_cosyvoice3(release, goldens, tmp_path):
    conversion = convert_release(cosyvoice(release, tmp_path / "cosyvoice"), tmp_path / "out")
    assert "timespk_embed.weight" in conversion.new
    assert "must be trained" in (tmp_path / "out/README.md").read_text()
    model = CineDubForConditionalGeneration.from_pretrained(tmp_path / "out").eval()
    ours, theirs = model.state_dict(), goldens.model.state_dict()
    assert model.config.flow_config.mel_fmax == 12000.0
    for key in ours:
        if not key.startswith(("timespk_embed", "face_proj", "language_model.embed_tokens")):
            assert torch.allclose(ours[key], theirs[key], atol=1e-6), key
    # Row n of its text table is row n + 2 of ours, behind the two clue tokens (339 and 340 in the miniature).
    table, original = ours["language_model.embed_tokens.weight"], theirs["language_model.embed_tokens.weight"]
    assert torch.equal(table[:339], original[:339])
    assert torch.equal(table[341:359], original[339:357])
    assert torch.equal(table[359:], original[359:])


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


class Trap:
    """Would run on unpickling."""

    def __reduce__(self):
        return (pytest.fail, ("unpickled an object",))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda r: truncate(r / LLM), r"mp_rank_00_model_states\.pt: .*damaged"),
        (lambda r: (r / LLM).write_bytes(b""), "damaged or truncated"),
        (lambda r: (r / LLM).write_text("<html>not found</html>"), "damaged"),
        (lambda r: torch.save({"module.x": Trap()}, r / LLM), "refused: it holds Python objects"),
        (lambda r: torch.save({"epoch": 3}, r / LLM), "no state dict inside"),
        (lambda r: truncate(r / "camplus.onnx"), r"camplus\.onnx: damaged or truncated"),
        (lambda r: (r / "camplus.onnx").unlink(), r"expected one file cam\*plus\.onnx \(speaker encoder\), found nothing"),
        (lambda r: (r / VOCODER).unlink(), r"expected one file \*\*/\*\.pt \(weights\), found nothing"),
        (lambda r: shutil.copyfile(r / VOCODER, r / "vocoder/other.pt"), r"found avg_5_removewn\.pt, other\.pt"),
        (lambda r: shutil.copyfile(r / VOCODER, r / FLOW_FILE), "unknown key 'generator.m_source.l_linear.weight'"),
        (lambda r: (r / "flow/config.yaml").unlink(), r"flow/config\.yaml: no such file"),
        (lambda r: (r / "flow/config.yaml").write_text("a: [1"), r"flow/config\.yaml: damaged"),
        (lambda r: shutil.rmtree(r / "Qwen2-0.5B-CosyVoice-BlankEN"), r"no folder with config\.json, vocab\.json, merges\.txt"),
        (lambda r: shutil.rmtree(r / "llm"), "no llm/ folder"),
        (
            lambda r: change(r / LLM, lambda s: {k: v for k, v in s.items() if "layers.1.mlp.up" not in k}),
            r"without language_model\.layers\.1\.mlp\.up_proj\.weight",
        ),
        (lambda r: change(r / LLM, lambda s: s | {"module.extra.weight": torch.zeros(1)}), "unknown key 'extra.weight'"),
        (
            lambda r: change(r / LLM, lambda s: s | {"module.codec_head.weight": torch.zeros(5, 64)}),
            r"codec_head\.weight has shape \(5, 64\), expected \(6761, 64\)",
        ),
        (
            lambda r: change(
                r / VOCODER, lambda s: {k: v * torch.nan if k.endswith("conv_pre.bias") else v for k, v in s.items()}
            ),
            "conv_pre.bias holds values that are not finite",
        ),
        (
            lambda r: change(r / FLOW_FILE, lambda s: {k: v * 2 if "mel_basis" in k else v for k, v in s.items()}),
            "mel filters are none of those known",
        ),
    ],
)
def test_wrong_and_damaged_files_are_refused(release, tmp_path, damage, message):
    damage(release)
    with pytest.raises(UsageError, match=message):
        convert_release(release, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_other_refusals(release, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").write_text("keep me")
    with pytest.raises(UsageError, match="exists and is not an empty folder"):
        convert_release(release, tmp_path / "full")
    assert (tmp_path / "full/notes.txt").read_text() == "keep me"
    with pytest.raises(UsageError, match="neither a folder nor the id"):
        convert_release(tmp_path / "nothing", tmp_path / "out")
    with pytest.raises(UsageError, match="give the revision"):
        convert_release("org/model", tmp_path / "out")


def test_hub_repository(release, tmp_path, monkeypatch):
    """The Hub's answers are made up here: no test downloads."""
    import huggingface_hub

    class Info:
        sha = "c0ffee" * 6
        card_data = {"license": "mit"}  # noqa: RUF012

    asked = []
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda self, repo, revision: asked.append((repo, revision)) or Info)
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda repo, revision: asked.append((repo, revision)) or str(release)
    )
    monkeypatch.setattr(convert_cinedub, "_find_parts", lambda folder: pytest.fail(f"reached {folder.name}"))
    with pytest.raises(pytest.fail.Exception, match="reached release"):
        convert_release("org/dub", tmp_path / "out", revision="v1")
    assert asked == [("org/dub", "v1"), ("org/dub", Info.sha)]
    card = convert_cinedub._card(Conversion(tmp_path, 7, revision=Info.sha, licence="mit"), "org/dub")
    assert "license: mit" in card
    assert f"`org/dub` at `{Info.sha}`" in card


def test_rename_refuses_two_keys_for_one():
    state = {"codec_embedder.weight": torch.zeros(1), "input_embedding.weight": torch.zeros(1)}
    with pytest.raises(UsageError, match="which another key already gave"):
        rename(state, FLOW, "x")


def test_speaker_encoder_from_a_state_dict(parity, tmp_path):
    model = load_campplus(parity / "funcineforge_tiny/camplus.onnx")
    torch.save({k: v for k, v in model.state_dict().items() if "num_batches" not in k}, tmp_path / "campplus.bin")
    again = load_campplus(tmp_path / "campplus.bin")
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True))


def test_another_onnx_is_no_speaker_encoder(tmp_path):
    from onnx import TensorProto, helper, numpy_helper, save

    weight = numpy_helper.from_array(torch.zeros(2, 1, 3, 3).numpy(), "w")
    node = helper.make_node("Gemm", ["x", "w"], ["y"], name="g")
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "xy"]
    save(helper.make_model(helper.make_graph([node], "g", info[:1], info[1:], [weight])), tmp_path / "a.onnx")
    with pytest.raises(UsageError, match=r"expected Conv for head\.conv1, found the end of the graph"):
        load_campplus(tmp_path / "a.onnx")
    (tmp_path / "b.onnx").write_bytes(struct.pack("<I", 7))
    with pytest.raises(UsageError, match=r"b\.onnx: damaged"):
        load_campplus(tmp_path / "b.onnx")
