"""Film dubbing in the Hugging Face stack: films to a Hub dataset, a dubbing model trained on it, dubbed films.

Names are loaded on first use, so that `import cineforge_hf` stays fast and needs neither torch nor datasets.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# In a checkout the folders beside this package (processors/, configs/, ...) are its sub-packages; wheels have them inside.
_root = Path(__file__).resolve().parent.parent
if (_root / "pyproject.toml").is_file() and not (_root / "cineforge_hf" / "processors").exists():
    __path__.append(str(_root))

_PUBLIC = {
    "CampPlusConfig": "cineforge_hf.modeling.campplus",
    "CampPlusModel": "cineforge_hf.modeling.campplus",
    "CheckText": "cineforge_hf.processors.check_text",
    "CineDubConfig": "cineforge_hf.modeling.cinedub",
    "CineDubFeatureExtractor": "cineforge_hf.modeling.cinedub",
    "CineDubFlowModel": "cineforge_hf.modeling.cinedub",
    "CineDubForConditionalGeneration": "cineforge_hf.modeling.cinedub",
    "CineDubProcessor": "cineforge_hf.modeling.cinedub",
    "CineDubVocoder": "cineforge_hf.modeling.cinedub",
    "CorrectWithCoT": "cineforge_hf.processors.cot",
    "Ingest": "cineforge_hf.processors.ingest",
    "Processor": "cineforge_hf.processor",
    "SegmentClips": "cineforge_hf.processors.segment",
    "SeparateVocals": "cineforge_hf.processors.separate",
    "SpeechTokenizerConfig": "cineforge_hf.modeling.speech_tokenizer",
    "SpeechTokenizerFeatureExtractor": "cineforge_hf.modeling.speech_tokenizer",
    "SpeechTokenizerModel": "cineforge_hf.modeling.speech_tokenizer",
    "TokenizeSpeech": "cineforge_hf.processors.speech_tokens",
    "Transcribe": "cineforge_hf.processors.transcribe",
    "Verify": "cineforge_hf.processors.verify",
    "open_clip": "cineforge_hf.media",
    "scan_films": "cineforge_hf.films",
}

if TYPE_CHECKING:
    from cineforge_hf.films import scan_films as scan_films
    from cineforge_hf.media import open_clip as open_clip
    from cineforge_hf.modeling.campplus import CampPlusConfig as CampPlusConfig
    from cineforge_hf.modeling.campplus import CampPlusModel as CampPlusModel
    from cineforge_hf.modeling.cinedub import CineDubConfig as CineDubConfig
    from cineforge_hf.modeling.cinedub import CineDubFeatureExtractor as CineDubFeatureExtractor
    from cineforge_hf.modeling.cinedub import CineDubFlowModel as CineDubFlowModel
    from cineforge_hf.modeling.cinedub import CineDubForConditionalGeneration as CineDubForConditionalGeneration
    from cineforge_hf.modeling.cinedub import CineDubProcessor as CineDubProcessor
    from cineforge_hf.modeling.cinedub import CineDubVocoder as CineDubVocoder
    from cineforge_hf.modeling.speech_tokenizer import SpeechTokenizerConfig as SpeechTokenizerConfig
    from cineforge_hf.modeling.speech_tokenizer import SpeechTokenizerFeatureExtractor as SpeechTokenizerFeatureExtractor
    from cineforge_hf.modeling.speech_tokenizer import SpeechTokenizerModel as SpeechTokenizerModel
    from cineforge_hf.processor import Processor as Processor
    from cineforge_hf.processors.check_text import CheckText as CheckText
    from cineforge_hf.processors.cot import CorrectWithCoT as CorrectWithCoT
    from cineforge_hf.processors.ingest import Ingest as Ingest
    from cineforge_hf.processors.segment import SegmentClips as SegmentClips
    from cineforge_hf.processors.separate import SeparateVocals as SeparateVocals
    from cineforge_hf.processors.speech_tokens import TokenizeSpeech as TokenizeSpeech
    from cineforge_hf.processors.transcribe import Transcribe as Transcribe
    from cineforge_hf.processors.verify import Verify as Verify

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'cineforge_hf' has no attribute {name!r}; public names: {', '.join(sorted(_PUBLIC))}")
    value = getattr(import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
