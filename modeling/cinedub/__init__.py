"""The dubbing model. Importing this registers its classes with transformers' Auto classes."""

from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, AutoModelForTextToWaveform, AutoProcessor

from cineforge_hf.modeling import campplus as campplus
from cineforge_hf.modeling.cinedub.configuration_cinedub import CineDubConfig, CineDubFlowConfig, CineDubVocoderConfig
from cineforge_hf.modeling.cinedub.feature_extraction_cinedub import CineDubFeatureExtractor
from cineforge_hf.modeling.cinedub.modeling_cinedub import CineDubForConditionalGeneration
from cineforge_hf.modeling.cinedub.modeling_cinedub_flow import CineDubFlowModel
from cineforge_hf.modeling.cinedub.modeling_cinedub_vocoder import CineDubVocoder
from cineforge_hf.modeling.cinedub.processing_cinedub import CineDubProcessor

for _config, _model in (
    (CineDubConfig, CineDubForConditionalGeneration),
    (CineDubFlowConfig, CineDubFlowModel),
    (CineDubVocoderConfig, CineDubVocoder),
):
    AutoConfig.register(_config.model_type, _config, exist_ok=True)
    AutoModel.register(_config, _model, exist_ok=True)
AutoModelForTextToWaveform.register(CineDubConfig, CineDubForConditionalGeneration, exist_ok=True)
AutoFeatureExtractor.register(CineDubConfig, CineDubFeatureExtractor, exist_ok=True)
AutoProcessor.register(CineDubConfig, CineDubProcessor, exist_ok=True)

__all__ = [
    "CineDubConfig",
    "CineDubFeatureExtractor",
    "CineDubFlowConfig",
    "CineDubFlowModel",
    "CineDubForConditionalGeneration",
    "CineDubProcessor",
    "CineDubVocoder",
    "CineDubVocoderConfig",
]
