"""Speech recognisers on tiny random weights in the real format, windows and their seams, and words from constructed outputs."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cineforge_hf.errors import UsageError
from cineforge_hf.processors.engines.transcribe import asr as asr_module
from cineforge_hf.processors.engines.transcribe.asr import AsrEngine
from cineforge_hf.processors.engines.transcribe.base import Cue, EngineSettings
from cineforge_hf.processors.engines.transcribe.phrases import phrases
from cineforge_hf.processors.engines.transcribe.windows import (
    LONGEST,
    OVERLAP,
    Window,
    join_windows,
    speech_windows,
    stitch,
)
from cineforge_hf.processors.engines.transcribe.words import timed_words, words_of

torch = pytest.importorskip("torch", reason="the extra `asr` is not installed")
transformers = pytest.importorskip("transformers", reason="the extra `asr` is not installed")
pytest.importorskip("torchaudio", reason="the extra `asr` is not installed")
torch.set_num_threads(1)


from cineforge_hf.processors.engines.transcribe import asr_align, asr_models, asr_whisper  # noqa: E402

SOUNDS = [np.random.default_rng(i).normal(0, 0.1, 16000 * 2 + 800 * i).astype(np.float32) for i in range(3)]


# windows and seams


def test_windows_are_cut_in_pauses_and_hold_all_speech() -> None:
    rng = np.random.default_rng(0)
    edges = np.cumsum(rng.uniform(0.3, 6.0, 600))
    speech = list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
    windows = speech_windows(speech, 0.0, float(edges[-1]) + 1)
    assert all(w.end - w.start <= LONGEST + 1e-9 for w in windows)
    assert not any(w.overlaps for w in windows)
    assert all(a.end <= b.start + 1e-9 for a, b in itertools.pairwise(windows))
    for start, end in speech:
        assert any(w.start <= start and end <= w.end for w in windows)


def test_a_speech_without_pauses_has_overlapping_windows() -> None:
    windows = speech_windows([(1.0, 101.0)], 0.0, 110.0)
    assert [w.overlaps for w in windows] == [False, True, True, True]
    assert windows[0].start <= 1.0
    assert windows[-1].end >= 101.0
    for a, b in itertools.pairwise(windows):
        assert a.end - b.start == pytest.approx(OVERLAP)
        assert a.end - a.start <= LONGEST


def _true_words(window: Window, jitter: float) -> list[Cue]:
    """What a window has of a speech whose word k is at k / 2 seconds; words cut by the window's edge are misheard."""
    rng = np.random.default_rng(round(window.start))
    found = []
    for k in range(2, 362):
        start, end = k / 2 + 0.05, k / 2 + 0.45
        if end > window.start and start < window.end:
            whole = start >= window.start and end <= window.end
            shift = rng.uniform(-jitter, jitter)
            found.append(Cue(max(start, window.start) + shift, min(end, window.end) + shift, f"w{k}" if whole else "uh"))
    return found


@pytest.mark.parametrize("jitter", [0.0, 0.15])
def test_no_word_is_lost_or_doubled_at_a_seam(jitter: float) -> None:
    windows = speech_windows([(1.0, 181.0)], 0.0, 200.0)
    joined = join_windows(windows, [_true_words(w, jitter) for w in windows])
    assert [w.text for w in joined] == [f"w{k}" for k in range(2, 362)]
    assert all(a.end <= b.start + 1e-9 for a, b in itertools.pairwise(joined))


def test_windows_that_share_no_word_have_half_the_seam_each() -> None:
    before = [Cue(0.0, 1.0, "a"), Cue(9.1, 9.3, "b")]
    after = [Cue(8.2, 8.4, "x"), Cue(9.6, 9.9, "y")]
    assert [w.text for w in stitch(before, after, (8.0, 10.0))] == ["a", "y"]


def test_words_become_cues_at_sentences_and_pauses() -> None:
    words = [Cue(0.0, 0.4, "Wait."), Cue(0.5, 0.8, "I"), Cue(0.8, 1.2, "know"), Cue(2.5, 3.0, "him")]
    assert [c.text for c in phrases(words)] == ["Wait.", "I know", "him"]


# tokens to words


def test_pipeline_chunks_become_words_with_closed_times() -> None:
    chunks = [
        {"text": " She", "timestamp": (0.1, 0.3)},
        {"text": " was", "timestamp": (0.3, None)},
        {"text": " ", "timestamp": (0.5, 0.5)},
        {"text": " wrong.", "timestamp": (0.62, 9.0)},
        {"text": " Yes", "timestamp": (None, None)},
    ]
    words = asr_models.pipeline_words(chunks, 2.0)
    assert [(w.start, w.end, w.text) for w in words] == [
        (0.1, 0.3, "She"),
        (0.3, 0.5, "was"),
        (0.62, 2.0, "wrong."),
        (2.0, 2.0, "Yes"),
    ]


def test_whisper_tokens_become_words() -> None:
    pieces: dict[int, bytes] = dict(
        enumerate((b" Sh", b"e", b" was", b",", b" 3", b".5", "是".encode()[:2], "是".encode()[2:], "的。".encode()))
    )

    def decode(tokens: list[int]) -> str:
        return b"".join(pieces[token] for token in tokens).decode("utf-8", "replace")

    tokens = [100, 0, 1, 2, 3, 4, 5, 6, 7, 8, 101]
    times = [0.0, 0.2, 0.4, 0.9, 1.0, 1.3, 1.5, 1.6, 1.8, 2.5, 2.5]
    words = asr_whisper.token_words(tokens, times, decode, {100, 101}, 2.2)
    found = [(w.start, w.end, w.text) for w in words]
    assert found == [(0.0, 0.4, "She"), (0.4, 0.9, "was,"), (1.0, 1.5, "3.5"), (1.5, 1.8, "是"), (1.8, 2.2, "的。")]


def test_aligned_words_keep_their_punctuation() -> None:
    assert words_of("It's 3.50, isn't it?", ["It's", "350"]) == ["It's", "350"]  # not found: as they are
    assert words_of("是的，他来了。", list("是的他来了")) == ["是", "的，", "他", "来", "了。"]
    words = list(timed_words(["“", "Yes", ",", "you", "!"], [(0.0, 0.5), (0.6, 1.0)], 10.0, 12.0))
    assert [(w.start, w.end, w.text) for w in words] == [(10.0, 10.5, "“Yes,"), (10.6, 11.0, "you!")]


def test_wrong_numbers_of_times_are_shared() -> None:
    words = list(timed_words(["ab", "cd"], [(0.0, 1.0)], 0.0, 4.0))
    assert [(w.start, w.end) for w in words] == [(0.0, 0.5), (0.5, 1.0)]


def test_forced_alignment_finds_the_frames_of_the_letters() -> None:
    vocabulary = {"<pad>": 0, "|": 1, **{letter: i for i, letter in enumerate("ABEDHLOT", 2)}}
    units = asr_align.units_of("Hello 42 the bed.")
    tokens, owners = asr_align.spell(units, vocabulary, 0)
    # What a perfect model would say: two frames for each letter, a blank after each, and a pause of ten frames after "Hello".
    path: list[int] = []
    starts: dict[int, int] = {}
    for token, owner in zip(tokens, owners, strict=True):
        if owner >= 0:
            starts.setdefault(owner, len(path))
        path += [token, token, 0] if owner >= 0 else [0] * 10
    log_probs = torch.full((len(path), len(vocabulary)), -9.0)
    log_probs[torch.arange(len(path)), torch.tensor(path)] = -0.01
    for i, token in enumerate(tokens):
        if owners[i] < 0:
            log_probs[:, token] = -1.0
    words = asr_align.align_units(log_probs, units, tokens, owners, 0, len(path) * 0.02)
    assert [w.text for w in words] == ["Hello", "42", "the", "bed."]
    for unit, start in starts.items():
        assert words[unit].start == pytest.approx(start * 0.02, abs=0.041)
    assert words[0].end <= words[1].start <= words[1].end <= words[2].start


def test_more_letters_than_frames_share_the_window() -> None:
    units = ["abc", "de"]
    tokens, owners = asr_align.spell(units, {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5}, 0)
    words = asr_align.align_units(torch.zeros(2, 6), units, tokens, owners, 0, 1.0)
    assert [(w.start, w.end) for w in words] == [(0.0, 0.6), (0.6, 1.0)]


# tiny models, saved and loaded as the real ones are


@pytest.fixture(scope="module")
def tiny_whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Whisper of two layers with the real processor, tokenizer format and generation settings."""
    folder = tmp_path_factory.mktemp("whisper")
    tokenizer = _whisper_tokenizer(folder)
    features = transformers.WhisperFeatureExtractor(feature_size=80)
    transformers.WhisperProcessor(features, tokenizer).save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.WhisperConfig(
        vocab_size=len(tokenizer), d_model=16, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, num_mel_bins=80, max_target_positions=28,
        decoder_start_token_id=tokenizer.convert_tokens_to_ids("<|startoftranscript|>"), pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id, bos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    model = transformers.WhisperForConditionalGeneration(config)
    with torch.no_grad():
        # Sure of its letters, so that it does not say time stamps alone, as even odds would make it.
        letters = model.model.decoder.embed_tokens.weight
        letters[:98] *= 100
        letters[98:] = 0
    ids = tokenizer.convert_tokens_to_ids
    model.generation_config = transformers.GenerationConfig(
        alignment_heads=[[1, 0], [1, 1]],
        is_multilingual=True,
        lang_to_id={f"<|{code}|>": ids(f"<|{code}|>") for code in ("en", "zh")},
        task_to_id={task: ids(f"<|{task}|>") for task in ("translate", "transcribe")},
        no_timestamps_token_id=ids("<|notimestamps|>"),
        decoder_start_token_id=config.decoder_start_token_id,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
        max_length=26,
    )
    model.save_pretrained(folder)
    return folder


def _whisper_tokenizer(folder: Path) -> Any:
    letters = [chr(code) for code in range(33, 127)] + ["Ġ"]
    vocabulary = {letter: i for i, letter in enumerate([*letters, "Ġhe", "Ġwas"])}
    vocabulary["<|endoftext|>"] = len(vocabulary)
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    files = str(folder / "vocab.json"), str(folder / "merges.txt")
    tokenizer = transformers.WhisperTokenizer(*files, pad_token="<|endoftext|>")  # noqa: S106
    special = ["<|startoftranscript|>", "<|en|>", "<|zh|>", "<|translate|>", "<|transcribe|>", "<|startofprev|>", "<|nospeech|>"]
    tokenizer.add_special_tokens({"extra_special_tokens": [*special, "<|notimestamps|>"]})
    tokenizer.add_tokens([f"<|{i * 0.02:.2f}|>" for i in range(151)])
    return tokenizer


def test_tiny_whisper_gives_words_with_times(tiny_whisper: Path) -> None:
    recogniser = asr_models.load_recogniser(EngineSettings(model=str(tiny_whisper), device="cpu", batch_size=2))
    for lang in ("en", "auto"):
        heard = recogniser.hear(SOUNDS, lang)
        assert len(heard) == 3
        for words, sound in zip(heard, SOUNDS, strict=True):
            assert all(0 <= w.start <= w.end <= len(sound) / 16000 for w in words)


@pytest.fixture(scope="module")
def tiny_ctc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random wav2vec2 with its processor."""
    folder = tmp_path_factory.mktemp("ctc")
    vocabulary = {"<pad>": 0, "<unk>": 1, "|": 2, **{chr(code): i for i, code in enumerate(range(65, 91), 3)}}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    tokenizer = transformers.Wav2Vec2CTCTokenizer(str(folder / "vocab.json"), pad_token="<pad>", unk_token="<unk>")  # noqa: S106
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=False)
    transformers.Wav2Vec2Processor(extractor, tokenizer).save_pretrained(folder)
    torch.manual_seed(1)
    config = transformers.Wav2Vec2Config(
        vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        conv_dim=(8,) * 7, num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2, pad_token_id=0,
    )  # fmt: skip
    transformers.Wav2Vec2ForCTC(config).save_pretrained(folder)
    return folder


def test_tiny_ctc_recognises_and_aligns(tiny_ctc: Path) -> None:
    settings = EngineSettings(model=str(tiny_ctc), aligner=str(tiny_ctc), device="cpu")
    heard = asr_models.load_recogniser(settings).hear(SOUNDS, "en")
    assert len(heard) == 3
    aligned = asr_align.load_aligner(settings).align(SOUNDS, ["She was wrong.", "", "1 2"], "en")
    assert [[w.text for w in words] for words in aligned] == [["She", "was", "wrong."], [], ["1", "2"]]
    for words, sound in zip(aligned, SOUNDS, strict=True):
        assert all(a.end <= b.start + 1e-3 for a, b in itertools.pairwise(words))
        assert all(0 <= w.start <= w.end <= len(sound) / 16000 for w in words)


QWEN_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }} {% for c in m['content'] %}{% if c['type'] == 'audio' %}"
    "<|audio_start|><|audio_pad|><|audio_end|>{% else %}{{ c['text'] }}{% if m['role'] == 'user' %}<timestamp><timestamp>"
    "{% endif %}{% endif %}{% endfor %}{% if not loop.last or not continue_final_message %}<|im_end|>{% endif %}{% endfor %}"
)


@pytest.fixture(scope="module")
def tiny_qwen(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A random Qwen3-ASR and its forced aligner, with the real processor."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers.models.qwen3_asr import feature_extraction_qwen3_asr, processing_qwen3_asr

    special = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|audio_start|>", "<|audio_pad|>", "<|audio_end|>", "<timestamp>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate([*letters, *special, "<asr_text>"])}
    raw = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    from tokenizers import decoders

    raw.decoder = decoders.ByteLevel()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token="<|endoftext|>",  # noqa: S106
        eos_token="<|im_end|>",  # noqa: S106
        extra_special_tokens={
            "audio_token": "<|audio_pad|>",
            "audio_bos_token": "<|audio_start|>",
            "audio_eos_token": "<|audio_end|>",
            "timestamp_token": "<timestamp>",
            "im_start": "<|im_start|>",
        },
    )
    extractor = feature_extraction_qwen3_asr.Qwen3ASRFeatureExtractor()
    processor = processing_qwen3_asr.Qwen3ASRProcessor(extractor, tokenizer, chat_template=QWEN_TEMPLATE)
    torch.manual_seed(2)
    shared: dict[str, Any] = {
        "audio_config": {
            "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 16, "d_model": 16, "output_dim": 16,
            "downsample_hidden_size": 8,
        },
        "text_config": {
            "model_type": "qwen3", "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
            "num_key_value_heads": 1, "head_dim": 8, "vocab_size": len(vocabulary), "pad_token_id": vocabulary["<|endoftext|>"],
        },
        "audio_token_id": vocabulary["<|audio_pad|>"], "timestamp_token_id": vocabulary["<timestamp>"],
        "pad_token_id": vocabulary["<|endoftext|>"], "eos_token_id": vocabulary["<|im_end|>"],
    }  # fmt: skip
    folders = tmp_path_factory.mktemp("qwen"), tmp_path_factory.mktemp("qwen_aligner")
    transformers.Qwen3ASRForConditionalGeneration(transformers.Qwen3ASRConfig(**shared)).save_pretrained(folders[0])
    aligner = transformers.Qwen3ASRConfig(**shared, num_labels=64)
    transformers.Qwen3ASRForTokenClassification(aligner).save_pretrained(folders[1])
    for folder in folders:
        processor.save_pretrained(folder)
    return folders


def test_tiny_qwen_recognises_and_aligns(tiny_qwen: tuple[Path, Path]) -> None:
    model, aligner = map(str, tiny_qwen)
    for settings in (
        EngineSettings(model=model, aligner=aligner, device="cpu"),
        EngineSettings(model=model, device="cpu", batch_size=2),
    ):
        for lang in ("zh", "auto"):
            heard = asr_models.load_recogniser(settings).hear(SOUNDS, lang)
            assert len(heard) == 3
            for words, sound in zip(heard, SOUNDS, strict=True):
                assert all(0 <= w.start <= w.end <= len(sound) / 16000 + 1e-3 for w in words)
    found = asr_align.load_aligner(EngineSettings(aligner=aligner, device="cpu")).align(SOUNDS[:1], ["是的, he was."], "zh")
    assert [w.text for w in found[0]] == ["是", "的,", "he", "was."]


# the engine


def test_memory_is_one_batch_on_two_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    held, most = 0, 0

    class Sound(np.ndarray):
        def __del__(self) -> None:
            nonlocal held
            held -= 1

    def read(*_: Any, **__: Any) -> Any:
        nonlocal held, most
        held += 1
        most = max(most, held)
        return [np.zeros(16).view(Sound)]

    class Hears:
        def hear(self, sounds: Sequence[Any], lang: str) -> list[list[Cue]]:
            return [[Cue(0.0, 0.5, "so")] for _ in sounds]

    from cineforge_hf.processors.engines.transcribe import windows as windows_module

    monkeypatch.setattr(windows_module, "read_sound", read)
    probabilities = np.tile(np.r_[np.full(120, 0.9), np.full(30, 0.01)], 1500).astype(np.float32)  # two hours
    row = {"source": "film.mkv", "audio_stream": 1, "film_duration": 7200.0, "trim_start": 0.0, "trim_end": 7200.0}
    engine = AsrEngine(EngineSettings(model="m", batch_size=4), Hears())
    found = engine.transcribe({**row, "voice": lambda: probabilities}, "en")
    assert len(found.words or ()) > 250
    assert most <= 2 * 4 + 1


def test_unreachable_weights_are_told_before_any_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub

    def fail(*_: Any, **__: Any) -> str:
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub, "get_session", fail)
    with pytest.raises(UsageError, match="hf download openai/whisper-large-v3-turbo"):
        AsrEngine(EngineSettings()).check()
    with pytest.raises(UsageError, match=r"no config\.json"):
        AsrEngine(EngineSettings(model=str(tmp_path))).check()
    assert asr_module.DEFAULT in AsrEngine(EngineSettings()).info.revision
