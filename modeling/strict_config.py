"""A `PreTrainedConfig` that refuses keys it does not know.

transformers turns an unknown key of `config.json` or of the constructor into an attribute, so that a misspelt setting is
silently without effect. Every configuration of this package derives from `StrictConfig`, which names the nearest key instead.
"""

from __future__ import annotations

import dataclasses
import difflib
from typing import Any

from transformers import GenerationConfig, PreTrainedConfig

# What transformers itself passes to `__post_init__` beside the fields.
_INTERNAL = {
    "_attn_implementation_internal",
    "_commit_hash",
    "_experts_implementation_internal",
    "_name_or_path",
    "_output_attentions",
    "attn_implementation",
    "auto_map",
    "experts_implementation",
    "model_type",
    "name_or_path",
    "num_labels",
    "output_attentions",
    "per_layer_config",
    "torch_dtype",
}


class StrictConfig(PreTrainedConfig):
    """Base of the configurations: typed fields, unknown keys refused."""

    def __post_init__(self, **kwargs: Any) -> None:
        """Refuses unknown keys, then lets transformers do its part.

        Raises:
            ValueError: a key is neither a field nor one of transformers' own.
        """
        known = {f.name for f in dataclasses.fields(self)}
        generation = set(GenerationConfig._get_default_generation_params())
        unknown = sorted(set(kwargs) - known - _INTERNAL - generation)
        if unknown:
            near = difflib.get_close_matches(unknown[0], known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"{type(self).__name__} has no setting {unknown[0]!r}{hint}")
        super().__post_init__(**{key: value for key, value in kwargs.items() if key != "model_type"})
