"""The CAM++ speaker encoder. Importing this registers it with transformers' Auto classes."""

from transformers import AutoConfig, AutoModel

from cineforge_hf.modeling.campplus.configuration_campplus import CampPlusConfig
from cineforge_hf.modeling.campplus.modeling_campplus import CampPlusModel

AutoConfig.register(CampPlusConfig.model_type, CampPlusConfig, exist_ok=True)
AutoModel.register(CampPlusConfig, CampPlusModel, exist_ok=True)

__all__ = ["CampPlusConfig", "CampPlusModel"]
