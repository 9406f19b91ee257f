"""The S3 speech tokenizer v3. Importing this registers it with transformers' Auto classes."""

from transformers import AutoConfig, AutoFeatureExtractor, AutoModel

from cineforge_hf.modeling.speech_tokenizer.configuration_speech_tokenizer import SpeechTokenizerConfig
from cineforge_hf.modeling.speech_tokenizer.feature_extraction_speech_tokenizer import SpeechTokenizerFeatureExtractor
from cineforge_hf.modeling.speech_tokenizer.modeling_speech_tokenizer import SpeechTokenizerModel

AutoConfig.register(SpeechTokenizerConfig.model_type, SpeechTokenizerConfig, exist_ok=True)
AutoModel.register(SpeechTokenizerConfig, SpeechTokenizerModel, exist_ok=True)
AutoFeatureExtractor.register(SpeechTokenizerConfig, SpeechTokenizerFeatureExtractor, exist_ok=True)

__all__ = ["SpeechTokenizerConfig", "SpeechTokenizerFeatureExtractor", "SpeechTokenizerModel"]
