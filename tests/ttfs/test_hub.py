from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, AutoModelForImageClassification, AutoModelForSequenceClassification

from otters_lab.core.errors import DamagedFileError, InputError
from otters_lab.ttfs.config import NoiseConfig
from otters_lab.ttfs.convert import CodeConfig, calibrate_scales, convert
from otters_lab.ttfs.hub import TTFSQuantizationConfig

TEXT = {
    "vocab_size": 64,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
    "initializer_range": 0.2,
    "pad_token_id": 1,
    "num_labels": 3,
}
IMAGE = {**TEXT, "image_size": 8, "patch_size": 4, "num_channels": 1}
DISTIL = {"vocab_size": 64, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48, "num_labels": 3}
KINDS = {"bert": TEXT, "roberta": TEXT, "distilbert": DISTIL, "electra": TEXT, "vit": IMAGE, "dinov2": IMAGE}
CODE = CodeConfig(bits=3, coding="shift", weight_scale="tensor", noise=NoiseConfig(run_place="line", run_time="token"))

# Loads each CLASS=FOLDER, and writes what it puts out for the tensors beside it.
LOAD = """
import sys
import torch, transformers
from safetensors.torch import load_file, save_file
{imports}
for argument in sys.argv[1:]:
    auto, _, folder = argument.partition("=")
    made, info = getattr(transformers, auto).from_pretrained(folder, output_loading_info=True)
    assert not any(info.values()), info
    with torch.no_grad():
        save_file({{"y": made(**load_file(folder + "/inputs.st"))[0].contiguous()}}, folder + "/outputs.st")
"""


def in_a_new_process(folders: dict[Path, Any], imports: str = "import otters_lab.ttfs.hub") -> Any:
    arguments = [f"{auto.__name__}={folder}" for folder, auto in folders.items()]
    command = [sys.executable, "-c", LOAD.format(imports=imports), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])


def inputs_of(model: Any) -> dict[str, torch.Tensor]:
    made = torch.Generator().manual_seed(1)
    if model.main_input_name == "pixel_values":
        return {"pixel_values": torch.randn(3, 1, 8, 8, generator=made)}
    mask = torch.tensor([[1] * 9, [1] * 6 + [0] * 3, [1] * 4 + [0] * 5])
    return {"input_ids": torch.randint(2, 64, (3, 9), generator=made), "attention_mask": mask}


def saved(folder: Path, kind: str, auto: Any = AutoModelForSequenceClassification) -> tuple[Any, torch.Tensor]:
    """A converted model, written to `folder` with some inputs, and its outputs for them."""
    torch.manual_seed(0)
    model = convert(auto.from_config(AutoConfig.for_model(kind, **KINDS[kind])).eval(), CODE)
    inputs = inputs_of(model)
    calibrate_scales(model, lambda: model(**inputs))
    model.save_pretrained(folder)
    save_file(inputs, folder / "inputs.st")
    with torch.no_grad():
        return model, model(**inputs)[0]


def test_a_new_process_loads_converted_models_bit_for_bit(tmp_path: Path) -> None:
    text = dict.fromkeys(["bert", "roberta", "distilbert", "electra"], AutoModelForSequenceClassification)
    image = dict.fromkeys(["vit", "dinov2"], AutoModelForImageClassification)
    autos = {tmp_path / kind: auto for kind, auto in {**text, **image}.items()}
    autos |= {tmp_path / "bare" / kind: AutoModel for kind in ("bert", "vit")}
    outputs = {folder: saved(folder, folder.name, auto)[1] for folder, auto in autos.items()}
    done = in_a_new_process(autos)
    assert done.returncode == 0, done.stderr
    for folder, expected in outputs.items():
        assert torch.equal(load_file(folder / "outputs.st")["y"], expected), folder


def test_a_process_without_otters_lab_refuses_it(tmp_path: Path) -> None:
    saved(tmp_path, "bert")
    done = in_a_new_process({tmp_path: AutoModelForSequenceClassification}, imports="")
    assert done.returncode != 0
    assert "Unknown quantization type, got otters_ttfs" in done.stderr
    assert 'ValueError: Specified `attn_implementation="otters_ttfs"` is not supported' in done.stderr
    assert not (tmp_path / "outputs.st").exists()


def test_the_backbone_of_a_classifier_loads_from_its_folder(tmp_path: Path) -> None:
    model, _ = saved(tmp_path, "bert")
    backbone = AutoModel.from_pretrained(tmp_path)
    inputs = inputs_of(model)
    with torch.no_grad():
        assert torch.equal(backbone(**inputs)[0], model.bert(**inputs)[0])


def test_config_json_holds_the_whole_code_and_nothing_is_pickled(tmp_path: Path) -> None:
    saved(tmp_path, "bert")
    stored = json.loads((tmp_path / "config.json").read_text())
    assert stored["quantization_config"] == {"quant_method": "otters_ttfs", **CODE.model_dump()}
    assert stored["attn_implementation"] == "otters_ttfs"
    assert TTFSQuantizationConfig(**stored["quantization_config"]).code == CODE
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "model.safetensors", "inputs.st"}


def test_a_loaded_model_is_saved_as_it_was(tmp_path: Path) -> None:
    saved(tmp_path / "first", "vit", AutoModelForImageClassification)
    again = AutoModelForImageClassification.from_pretrained(tmp_path / "first")
    again.save_pretrained(tmp_path / "second")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "second" / name).read_bytes() == (tmp_path / "first" / name).read_bytes()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_precision_is_kept(tmp_path: Path, dtype: torch.dtype) -> None:
    model, _ = saved(tmp_path, "bert")
    model.to(dtype).save_pretrained(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert {p.dtype for p in loaded.parameters()} == {dtype}
    with torch.no_grad():
        assert torch.equal(loaded(**inputs_of(model))[0], model(**inputs_of(model))[0])


def test_another_attention_is_not_to_be_had(tmp_path: Path) -> None:
    model, expected = saved(tmp_path, "bert")
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path, attn_implementation="sdpa")
    with torch.no_grad():
        assert torch.equal(loaded(**inputs_of(model))[0], expected)


def test_a_folder_without_one_of_the_scales_is_refused(tmp_path: Path) -> None:
    saved(tmp_path, "bert")
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["bert.encoder.layer.1.output.dense.code.alpha"]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(DamagedFileError, match=r"has no bert\.encoder\.layer\.1\.output\.dense\.code\.alpha"):
        AutoModelForSequenceClassification.from_pretrained(tmp_path)


def test_a_full_precision_folder_is_refused(tmp_path: Path) -> None:
    torch.manual_seed(0)
    AutoModel.from_config(AutoConfig.for_model("bert", **TEXT)).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="otters_ttfs does require the model to be pre-quantized"):
        AutoModel.from_pretrained(tmp_path, quantization_config=TTFSQuantizationConfig())


def test_a_field_that_is_wrong_is_named() -> None:
    with pytest.raises(InputError, match=r"quantization_config: bits: .* found 9"):
        TTFSQuantizationConfig(bits=9)
    with pytest.raises(InputError, match=r"quantization_config: rails: .* found 2"):
        TTFSQuantizationConfig(rails=2)
