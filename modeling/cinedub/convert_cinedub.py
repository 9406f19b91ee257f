"""Published checkpoints to a folder of ours: Fun-CineForge's release, and CosyVoice3's parts.

Invariants: nothing is unpickled but tensors; every key of the source is used or listed as dropped, and every weight of the
model comes from the source or is listed as new; the folder appears only when it is complete.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from transformers import AutoTokenizer, PreTrainedTokenizerBase, Qwen2Config

from cineforge_hf.errors import UsageError
from cineforge_hf.modeling.campplus.convert_campplus import load_campplus
from cineforge_hf.modeling.cinedub import convert_keys as keys
from cineforge_hf.modeling.cinedub.configuration_cinedub import CineDubConfig
from cineforge_hf.modeling.cinedub.feature_extraction_cinedub import CineDubFeatureExtractor
from cineforge_hf.modeling.cinedub.modeling_cinedub import CineDubForConditionalGeneration
from cineforge_hf.modeling.cinedub.processing_cinedub import ADDED_TOKENS, CineDubProcessor
from cineforge_hf.modeling.weights import load_torch_file, load_weights

_TOKENIZER_FILES = ("config.json", "vocab.json", "merges.txt")
# CosyVoice3 has no clue tokens: what is row n of its text table is row n + 2 of ours, from <|endofprompt|> on.
_CLUE_TOKENS = 2


@dataclass
class Conversion:
    """What a conversion did.

    Args:
        output: the folder that was written.
        parameters: number of weights.
        dropped: published keys that the model does not need.
        new: weights that the source does not have; they are random and must be trained.
        revision: commit of the Hub repository, where one was downloaded.
        licence: its licence, as its card states it.
    """

    output: Path
    parameters: int
    dropped: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    revision: str | None = None
    licence: str | None = None


@dataclass
class _Parts:
    """The files of a release."""

    llm: Path
    flow: Path
    vocoder: Path
    speaker: Path
    tokenizer: Path
    settings: dict[str, dict[str, Any]]


def convert_release(source: str | Path, output: str | Path, *, revision: str | None = None) -> Conversion:
    """Converts a release.

    Args:
        source: a folder, or the id of a Hub repository: Fun-CineForge's (`llm/`, `flow/`, `vocoder/`, `camplus.onnx` and the
            text tokenizer's folder) or CosyVoice3's (`llm.pt`, `flow.pt`, `hift.pt`, `campplus.onnx`).
        output: folder to write; it must not exist or be empty.
        revision: commit of the Hub repository; required for one.

    Returns:
        What was done.

    Raises:
        UsageError: a file is missing, damaged or of another model, or the output exists.
    """
    output = Path(output)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UsageError(f"{output}: exists and is not an empty folder; choose another output")
    folder, commit, licence = _fetch(source, revision)
    parts = _find_parts(folder)
    config, state, conversion = _convert(parts)
    conversion.output, conversion.revision, conversion.licence = output, commit, licence
    with torch.device("meta"):
        model = CineDubForConditionalGeneration(config)
    load_weights(model, state, folder)
    conversion.parameters = sum(p.numel() for p in model.parameters())
    tokenizer = _tokenizer(parts.tokenizer, config)
    processor = CineDubProcessor.for_config(config, tokenizer, CineDubFeatureExtractor.for_config(config))
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{output.name}-", dir=output.parent) as work:
        made = Path(work) / "model"
        model.save_pretrained(made)
        processor.save_pretrained(made)
        (made / "README.md").write_text(_card(conversion, str(source)), encoding="utf-8")
        if output.exists():
            output.rmdir()
        shutil.move(made, output)
    return conversion


def _fetch(source: str | Path, revision: str | None) -> tuple[Path, str | None, str | None]:
    folder = Path(source)
    if folder.is_dir():
        return folder, None, None
    if folder.exists() or str(source).count("/") != 1 or str(source).startswith((".", "/", "~")):
        raise UsageError(f"{source}: neither a folder nor the id of a Hub repository")
    if revision is None:
        raise UsageError(f"{source}: give the revision of the Hub repository, so that the result can be traced")
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        info = HfApi().model_info(str(source), revision=revision)
        local = snapshot_download(str(source), revision=info.sha)
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise UsageError(f"{source}: cannot be downloaded ({error})") from error
    licence = info.card_data.get("license") if info.card_data else None
    return Path(local), info.sha, licence


def _find_parts(folder: Path) -> _Parts:
    root = next((f for f in (folder, *sorted(p for p in folder.iterdir() if p.is_dir())) if (f / "llm").is_dir()), None)
    if root is not None:
        stages = {name: root / name for name in ("llm", "flow", "vocoder")}
        settings = {name: _settings(path / "config.yaml") for name, path in stages.items()}
        weights = {name: _only(path, "**/*.pt", "weights") for name, path in stages.items()}
        speaker = _only(root, "cam*plus.onnx", "speaker encoder")
        return _Parts(weights["llm"], weights["flow"], weights["vocoder"], speaker, _tokenizer_folder(root, folder), settings)
    if (folder / "llm.pt").is_file():
        llm, flow, vocoder = (folder / name for name in ("llm.pt", "flow.pt", "hift.pt"))
        speaker = _only(folder, "cam*plus.onnx", "speaker encoder")
        return _Parts(llm, flow, vocoder, speaker, _tokenizer_folder(folder), {"llm": {}, "flow": {}, "vocoder": {}})
    raise UsageError(f"{folder}: no llm/ folder (Fun-CineForge) and no llm.pt (CosyVoice3); is this a release?")


def _only(folder: Path, pattern: str, what: str) -> Path:
    found = sorted(folder.glob(pattern)) if folder.is_dir() else []
    if len(found) != 1:
        names = ", ".join(f.name for f in found) or "nothing"
        raise UsageError(f"{folder}: expected one file {pattern} ({what}), found {names}")
    return found[0]


def _tokenizer_folder(*folders: Path) -> Path:
    for folder in folders:
        for path in sorted(p for p in folder.iterdir() if p.is_dir()):
            if all((path / name).is_file() for name in _TOKENIZER_FILES):
                return path
    raise UsageError(f"{folders[0]}: no folder with {', '.join(_TOKENIZER_FILES)} (the text tokenizer and its architecture)")


def _settings(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(f"{path}: no such file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: damaged ({error})") from error
    if not isinstance(content, dict):
        raise UsageError(f"{path}: holds no settings")
    return content


def _convert(parts: _Parts) -> tuple[CineDubConfig, keys.State, Conversion]:
    dropped: list[str] = []
    states: dict[str, keys.State] = {}
    flow_buffers: Mapping[str, torch.Tensor] = {}
    for name, path, rules in (
        ("", parts.llm, keys.LANGUAGE_MODEL),
        ("flow", parts.flow, keys.FLOW),
        ("vocoder", parts.vocoder, keys.VOCODER),
    ):
        raw = keys.fold_weight_norm(load_torch_file(path))
        states[name], left = keys.rename(raw, rules, path)
        dropped += left
        if name == "flow":
            flow_buffers = raw
    speaker = load_campplus(parts.speaker)
    try:
        config = _config(parts, states, flow_buffers, speaker.config)
    except KeyError as error:
        raise UsageError(f"{parts.llm.parent}: no {error} in the release; a file is incomplete") from error
    new = _fill_new(states[""], config)
    state = dict(states[""])
    for name, part in (("flow", states["flow"]), ("vocoder", states["vocoder"]), ("speaker_encoder", speaker.state_dict())):
        state |= {f"{name}.{key}": value for key, value in part.items()}
    state = {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
    return config, state, Conversion(Path(), 0, dropped, new)


def _config(
    parts: _Parts, states: dict[str, keys.State], buffers: Mapping[str, torch.Tensor], speaker_config: Any
) -> CineDubConfig:
    language, flow = states[""], keys.flow_sizes(states["flow"], buffers, parts.settings["flow"])
    text = json.loads((parts.tokenizer / "config.json").read_text(encoding="utf-8"))
    text |= {"vocab_size": language["language_model.embed_tokens.weight"].shape[0], "tie_word_embeddings": False}
    text.pop("dtype", None)
    text.pop("torch_dtype", None)
    text_config = Qwen2Config(**{key: value for key, value in text.items() if key not in ("architectures", "model_type")})
    codebook = flow["codebook_size"]
    names = ("bos_token_id", "eos_token_id", "turn_token_id", "fill_token_id")
    sizes: dict[str, Any] = {name: codebook + offset for offset, name in enumerate(names)} | {"pad_token_id": codebook + 1}
    if "timespk_embed.weight" in language:
        sizes["timespk_vocab_size"] = language["timespk_embed.weight"].shape[0]
        sizes["face_size"] = language["face_proj.weight"].shape[1]
    return CineDubConfig(
        text_config=text_config,
        flow_config=flow,
        vocoder_config=keys.vocoder_sizes(states["vocoder"], parts.settings["vocoder"]),
        speaker_config=speaker_config,
        codebook_size=codebook,
        num_codec_specials=language["codec_embed.weight"].shape[0] - codebook,
        **sizes,
    )


def _fill_new(language: keys.State, config: CineDubConfig) -> list[str]:
    """Makes what CosyVoice3 lacks: time/speaker and face tables, and rows for the clue tokens."""
    if "timespk_embed.weight" in language:
        return []
    generator = torch.Generator().manual_seed(0)
    hidden, std = config.text_config.hidden_size, config.initializer_range
    language["timespk_embed.weight"] = torch.randn(config.timespk_vocab_size, hidden, generator=generator) * std
    language["face_proj.weight"] = torch.randn(hidden, config.face_size, generator=generator) * std
    language["face_proj.bias"] = torch.zeros(hidden)
    first = config.text_config.eos_token_id + 3 if config.text_config.eos_token_id is not None else None
    table = language["language_model.embed_tokens.weight"]
    if first is not None and first + len(ADDED_TOKENS) <= len(table):
        shared = len(ADDED_TOKENS) - _CLUE_TOKENS
        rows = table.clone()
        rows[first + _CLUE_TOKENS : first + len(ADDED_TOKENS)] = table[first : first + shared]
        rows[first : first + _CLUE_TOKENS] = torch.randn(_CLUE_TOKENS, hidden, generator=generator) * std
        language["language_model.embed_tokens.weight"] = rows
    return ["timespk_embed.weight", "face_proj.weight", "face_proj.bias", "two rows of language_model.embed_tokens.weight"]


def _tokenizer(folder: Path, config: CineDubConfig) -> PreTrainedTokenizerBase:
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    tokenizer.add_special_tokens({"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"})
    first = len(tokenizer)
    tokenizer.add_tokens(list(ADDED_TOKENS), special_tokens=True)
    ids = tokenizer.convert_tokens_to_ids(list(ADDED_TOKENS))
    if ids != list(range(first, first + len(ADDED_TOKENS))) or len(tokenizer) > config.text_config.vocab_size:
        raise UsageError(f"{folder}: its tokenizer already has some of the model's added tokens, or too many others")
    return tokenizer


def _card(conversion: Conversion, source: str) -> str:
    licence = conversion.licence or "apache-2.0"
    origin = f"`{Path(source).name}`" if conversion.revision is None else f"`{source}` at `{conversion.revision}`"
    new = "".join(f"- `{name}`\n" for name in conversion.new)
    lines = [
        "---",
        "library_name: transformers",
        "pipeline_tag: text-to-speech",
        f"license: {licence}",
        "tags: [dubbing, speech, cinedub, cineforge_hf]",
        "---",
        "",
        "# CineDub: speech for film clips",
        "",
        f"Converted with cineforge_hf from {origin}: {conversion.parameters / 1e6:,.0f} M parameters. It speaks a given text in",
        "the voice of a reference, in time with the faces of a clip. Check the licence and the terms of the source before use,",
        "and clone a voice only with its owner's consent.",
        "",
        "```python",
        "from cineforge_hf import CineDubForConditionalGeneration, CineDubProcessor",
        "",
        'model = CineDubForConditionalGeneration.from_pretrained("path/to/this/folder")',
        'processor = CineDubProcessor.from_pretrained("path/to/this/folder")',
        'inputs = processor(text="Hello.", scene="monologue", duration=2.0, voices=voice, sampling_rate=16000)',
        "waveform = model.generate_speech(**inputs, seed=0).waveforms[0]  # 24 kHz",
        "```",
    ]
    if new:
        lines += ["", "The source has no weights for these; they are random and must be trained:", "", new.rstrip()]
    return "\n".join(lines) + "\n"


__all__ = ["Conversion", "convert_release"]
