"""Converted models as `save_pretrained` and `from_pretrained` know them: a quantisation method of transformers.

Importing this module registers the method and our attention; `from_pretrained` of any class, Auto classes included,
then rebuilds a converted model from its folder: config.json names the method with all of `CodeConfig`, and
model.safetensors holds the latent weights and every scale. Without it transformers does not know the attention that
config.json asks for, and refuses: of the unknown method alone it would only warn, and go on in full precision.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError
from transformers.modeling_utils import PreTrainedModel
from transformers.quantizers.auto import register_quantization_config, register_quantizer
from transformers.quantizers.base import HfQuantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

from otters_lab.core.errors import DamagedFileError, InputError
from otters_lab.ttfs.attention import ATTENTION_NAME, register_attention
from otters_lab.ttfs.config import CodeConfig
from otters_lab.ttfs.convert import convert
from otters_lab.ttfs.layers import TTFSAttention, TTFSLinear

METHOD = "otters_ttfs"


@register_quantization_config(METHOD)
class TTFSQuantizationConfig(QuantizationConfigMixin):
    """The section "quantization_config" of config.json: the fields of `CodeConfig`, as attributes.

    Raises
    ------
    InputError
        for a field that is unknown or has no valid value.
    """

    def __init__(self, **fields: Any) -> None:
        fields.pop("quant_method", None)
        self.quant_method: Any = METHOD  # not one of transformers' own enumeration
        self.__dict__.update(_validated(fields).model_dump())

    @property
    def code(self) -> CodeConfig:
        """The configuration to convert with."""
        return _validated({name: value for name, value in self.__dict__.items() if name in CodeConfig.model_fields})


def _validated(fields: dict[str, Any]) -> CodeConfig:
    try:
        return CodeConfig.model_validate(fields)
    except ValidationError as failure:
        first = failure.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise InputError(first["msg"], file="quantization_config", key=key, found=first["input"]) from None


@register_quantizer(METHOD)
class TTFSQuantizer(HfQuantizer):
    """Converts the bare model before its weights are loaded.

    A full precision folder is refused: scales come from data (`convert`, then `calibrate_scales`).
    """

    requires_calibration = True
    quantization_config: TTFSQuantizationConfig

    def update_attn_implementation(self, config: Any) -> Any:
        """Ours, whatever was asked for: the weights mean nothing to another attention."""
        config._attn_implementation = ATTENTION_NAME
        return config

    def _process_model_before_weight_loading(self, model: PreTrainedModel, **_: Any) -> PreTrainedModel:
        return convert(model, self.quantization_config.code)

    def _process_model_after_weight_loading(self, model: PreTrainedModel, **_: Any) -> PreTrainedModel:
        """Refuses a folder without some of our tensors: transformers warns, and leaves them as memory happens to be."""
        loaded = {name for name, p in model.named_parameters() if getattr(p, "_is_hf_initialized", False)}
        ours = {
            f"{name}.{part}"
            for name, module in model.named_modules()
            if isinstance(module, TTFSLinear | TTFSAttention)
            for part, _ in module.named_parameters()
        }
        missing = sorted(ours - loaded)
        if loaded and missing:
            raise DamagedFileError(
                Path(str(model.name_or_path)), f"has no {missing[0]} ({len(missing)} tensors are missing)"
            )
        return model

    def is_serializable(self) -> bool:
        """Whether a loaded model can be saved again."""
        return True

    @property
    def is_trainable(self) -> bool:
        """Whether a loaded model can be trained: the latent weights are stored."""
        return True

    @property
    def is_qat_trainable(self) -> bool:
        """The same, of all weights rather than of adapters."""
        return True


def mark(model: PreTrainedModel, code: CodeConfig) -> None:
    """Writes into a converted model's config what `from_pretrained` rebuilds it by."""
    model.config.quantization_config = TTFSQuantizationConfig(**code.model_dump())
    # The implementation in use is never saved; this field is, and is read as that on loading.
    model.config.attn_implementation = ATTENTION_NAME


register_attention()
