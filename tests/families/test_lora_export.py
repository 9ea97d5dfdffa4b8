"""A LoRA for other tools: the names that they know, and what diffusers reads back of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from peft.utils import get_peft_model_state_dict
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from memshield.digests import LORA
from memshield.errors import UserError
from memshield.families.kinds import FLOW
from memshield.families.lora import exported_state
from memshield.families.lora_export import METADATA, differences, export_lora
from memshield.families.lora_names import FORMATS
from tests.bench.published import MODELS, family_of, with_lora
from tests.families import loaded

PROJECTIONS = ("to_q", "to_k", "to_v", "to_out_0")


def of_blocks(places: dict[str, int]) -> set[str]:
    """The projections of the attentions in transformers at these places, with so many blocks."""
    return {
        f"lora_unet_{place}_transformer_blocks_{block}_{attention}_{projection}"
        for place, blocks in places.items()
        for block in range(blocks)
        for attention in ("attn1", "attn2")
        for projection in PROJECTIONS
    }


# sd-scripts names a module lora_unet_ and its path with _ for every dot (networks/lora.py): its
# UNet of Stable Diffusion has diffusers' paths, that of SDXL the original ones.
STABLE_DIFFUSION = of_blocks(
    {f"down_blocks_{b}_attentions_{a}": 1 for b in range(3) for a in range(2)}
    | {"mid_block_attentions_0": 1}
    | {f"up_blocks_{b}_attentions_{a}": 1 for b in range(1, 4) for a in range(3)}
)
SDXL = of_blocks(
    {"input_blocks_4_1": 2, "input_blocks_5_1": 2, "input_blocks_7_1": 10, "input_blocks_8_1": 10}
    | {"middle_block_1": 10}
    | {f"output_blocks_{n}_1": 10 if n < 3 else 2 for n in range(6)}
)
KNOWN = {
    "Stable Diffusion 1.5": STABLE_DIFFUSION,
    "Stable Diffusion 2.1": STABLE_DIFFUSION,
    "Stable Diffusion XL": SDXL,
}


def saved(folder: Path, model: Any, alpha: float = 4.0) -> Path:
    """The LoRA of a model on the meta device as diffusers writes it, with weights of its own."""
    from memshield.config.file import make_config

    values = {"pretrained_model_name_or_path": "x", "train_data_dir": "x", "lora_alpha": alpha}
    names = {
        f"unet.{name}": torch.full(tensor.shape, float(index))
        for index, (name, tensor) in enumerate(exported_state(model, make_config(values)).items())
    }
    folder.mkdir()
    save_file(names, folder / LORA)
    return folder


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", list(KNOWN))
def test_the_names_are_those_that_the_tools_know(tmp_path: Path, name: str, format: Any) -> None:
    model = with_lora(name)
    folder = saved(tmp_path / "model", model)
    count = export_lora(folder, MODELS[name]["pipeline"], format, tmp_path / "out.safetensors")
    tensors = load_file(tmp_path / "out.safetensors")
    parts = ("lora_down.weight", "lora_up.weight", "alpha")
    assert set(tensors) == {f"{module}.{part}" for module in KNOWN[name] for part in parts}
    assert count == len(KNOWN[name]) == len(get_peft_model_state_dict(model)) // 2
    for module in KNOWN[name]:
        down, up, alpha = (tensors[f"{module}.{part}"] for part in parts)
        assert down.shape[0] == up.shape[1] == alpha.item() == 4
        assert up.ndim == down.ndim == 2
        assert alpha.ndim == 0, "both tools call item() on it"


@pytest.mark.parametrize(
    ("name", "version", "second"),
    [
        ("Stable Diffusion 1.5", "sd_v1", "False"),
        ("Stable Diffusion 2.1", "sd_v2", "True"),
        ("Stable Diffusion XL", "sdxl_base_v1-0", "False"),
    ],
)
def test_the_file_says_which_base_it_fits(
    tmp_path: Path, name: str, version: str, second: str
) -> None:
    folder = saved(tmp_path / "model", with_lora(name))
    export_lora(folder, MODELS[name]["pipeline"], "kohya", tmp_path / "out.safetensors")
    with safe_open(tmp_path / "out.safetensors", framework="np") as file:
        noted = file.metadata()
    assert set(noted) == set(METADATA)
    assert (noted["ss_base_model_version"], noted["ss_v2"]) == (version, second)
    assert (noted["ss_network_dim"], float(noted["ss_network_alpha"])) == ("4", 4)


def written(base: Path, captioned: Path, folder: Path, format: Any) -> Path:
    """A LoRA with weights of its own, saved into a folder, and exported beside it."""
    model = loaded(base, captioned, rank=2, lora_alpha=6.0)
    with torch.no_grad():
        for index, parameter in enumerate(model.trainable().values()):
            parameter.copy_(
                torch.randn(parameter.shape, generator=torch.Generator().manual_seed(index))
            )
    model.save(folder)
    target = folder / "out.safetensors"
    export_lora(folder, model.facts.pipeline_class, format, target)
    return target


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "format"),
    [("tiny_qwen_image", "kohya"), ("tiny_flux2_klein", "comfyui"), ("tiny_z_image", "kohya")],
)
def test_a_pipeline_loads_a_transformers_lora(
    request: pytest.FixtureRequest, tmp_path: Path, captioned: Path, family: str, format: Any
) -> None:
    base: Path = request.getfixturevalue(family)
    target = written(base, captioned, tmp_path, format)
    pipeline = DiffusionPipeline.from_pretrained(base)
    for path in (tmp_path / LORA, target):
        pipeline.load_lora_weights(tmp_path, weight_name=path.name, adapter_name=path.stem)
    ours, theirs = (
        get_peft_model_state_dict(pipeline.transformer, adapter_name=path.stem)
        for path in (tmp_path / LORA, target)
    )
    assert ours.keys() == theirs.keys()
    assert all(torch.allclose(tensor, theirs[name]) for name, tensor in ours.items())


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("family", ["tiny_sd", "tiny_sdxl"])
def test_diffusers_reads_the_same_lora_back(
    request: pytest.FixtureRequest, tmp_path: Path, captioned: Path, family: str, format: Any
) -> None:
    base: Path = request.getfixturevalue(family)
    target = written(base, captioned, tmp_path, format)
    found, pictures = [], []
    for path in (tmp_path / LORA, target):
        pipeline = DiffusionPipeline.from_pretrained(base)
        pipeline.set_progress_bar_config(disable=True)
        pipeline.load_lora_weights(path.parent, weight_name=path.name)
        found.append(get_peft_model_state_dict(pipeline.unet, adapter_name="default_0"))
        seed = torch.Generator().manual_seed(0)
        pictures.append(
            pipeline("a cat", num_inference_steps=2, generator=seed, output_type="np").images
        )
    assert found[0].keys() == found[1].keys()
    assert all(torch.equal(tensor, found[1][name]) for name, tensor in found[0].items())
    np.testing.assert_array_equal(*pictures)


def saved_flow(folder: Path, name: str) -> dict[str, torch.Tensor]:
    """The LoRA of the first and the last block of every list, in its true size, and its file."""
    state = get_peft_model_state_dict(with_lora(name))
    numbers: dict[str, set[int]] = {}
    for path in state:
        blocks, number, _ = path.split(".", 2)
        numbers.setdefault(blocks, set()).add(int(number))
    ends = {f"{blocks}.{end(found)}." for blocks, found in numbers.items() for end in (min, max)}
    generator = torch.Generator().manual_seed(0)
    tensors = {
        f"transformer.{path}": torch.randn(tensor.shape, generator=generator)
        for path, tensor in state.items()
        if path.startswith(tuple(ends))
    }
    folder.mkdir()
    save_file(tensors, folder / LORA)
    return tensors


def added(down: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """What a module's matrices add to its output, for the same three inputs at every call."""
    inputs = torch.randn(down.shape[1], 3, generator=torch.Generator().manual_seed(1))
    return up @ (down @ inputs) / down.shape[1]


def all_added(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same for every module of a LoRA."""
    return {
        name.removesuffix(".lora_A.weight"): added(tensor, tensors[name.replace("_A.", "_B.")])
        for name, tensor in tensors.items()
        if ".lora_A." in name
    }


LOADED_BY_DIFFUSERS = [
    name
    for name in MODELS
    if family_of(name) in FLOW and family_of(name) not in ("stable_diffusion_3", "krea2")
]


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", LOADED_BY_DIFFUSERS)
def test_diffusers_converts_a_transformers_lora_back(
    tmp_path: Path, name: str, format: Any
) -> None:
    """Its rules for files of these tools give what the LoRA was, in the model's true sizes."""
    kind, target = MODELS[name]["pipeline"], tmp_path / "out.safetensors"
    expected = saved_flow(tmp_path / "model", name)
    export_lora(tmp_path / "model", kind, format, target)
    assert not list(differences(tmp_path / "model" / LORA, kind, format, target))
    found: Any = getattr(diffusers, kind).lora_state_dict(target)
    if isinstance(found, tuple):
        found = found[0]
    if name == "FLUX.1-dev":
        unchanged = [n for n in found if ".proj_mlp." in n]
        assert len(unchanged) == 4 and not any(found.pop(n).any() for n in unchanged)
    if (name, format) == ("Z-Image", "comfyui"):
        # It leaves the matrices of the one module together, each with the rank of all three.
        found, expected = all_added(found), all_added(expected)
    assert found.keys() == expected.keys()
    assert all(torch.allclose(t, found[n], atol=1e-5) for n, t in expected.items())


@pytest.mark.parametrize("format", FORMATS)
def test_stable_diffusion_3_has_the_names_of_its_original_code(tmp_path: Path, format: Any) -> None:
    """Those that diffusers' rules for whole checkpoints know; it has none for LoRAs."""
    name, target = "Stable Diffusion 3.5 medium", tmp_path / "out.safetensors"
    expected = all_added(saved_flow(tmp_path / "model", name))
    export_lora(tmp_path / "model", MODELS[name]["pipeline"], format, target)
    tensors = load_file(target)
    last = MODELS[name]["network"]["num_layers"] - 1
    found: dict[str, torch.Tensor] = {}
    for block in (0, last):
        for theirs, ours, out in (
            ("x_block", ("to_q", "to_k", "to_v"), "to_out.0"),
            ("context_block", ("add_q_proj", "add_k_proj", "add_v_proj"), "to_add_out"),
        ):
            module = f"lora_unet_joint_blocks_{block}_{theirs}_attn"
            for place, parts in ((f"{module}_qkv", ours), (f"{module}_proj", (out,))):
                if place.endswith(f"{last}_context_block_attn_proj"):
                    continue  # nothing follows it
                down, up, alpha = (
                    tensors.pop(f"{place}.{one}")
                    for one in ("lora_down.weight", "lora_up.weight", "alpha")
                )
                rows_of = (added(down, up) * alpha / len(down)).chunk(len(parts))
                for part, rows in zip(parts, rows_of, strict=True):
                    found[f"transformer.transformer_blocks.{block}.attn.{part}"] = rows
    assert not tensors
    assert found.keys() == expected.keys()
    assert all(torch.allclose(t, found[n], atol=1e-5) for n, t in expected.items())


@pytest.mark.parametrize("format", FORMATS)
def test_krea_2_has_the_names_of_its_original_code(
    tmp_path: Path, tiny_krea2: Path, captioned: Path, format: Any
) -> None:
    """Those that diffusers' rules for its LoRAs know, once underscores are dots again."""
    tensors = load_file(written(tiny_krea2, captioned, tmp_path, format))
    places = ("wq", "wk", "wv", "wo", "gate")
    block = [*(f"attn.{place}" for place in places), "mlp.up", "mlp.down"]
    blocks = ("blocks.0", "txtfusion.layerwise_blocks.0", "txtfusion.refiner_blocks.0")
    paths = [f"{one}.{path}" for one in blocks for path in block] + [
        "first", "last.linear", "tmlp.0", "tmlp.2", "tproj.1", "txtmlp.1", "txtmlp.3",
        "txtfusion.projector",
    ]  # fmt: skip
    original = {}
    for path in paths:
        name = f"lora_unet_{path.replace('.', '_')}"
        assert tensors.pop(f"{name}.alpha").item() == 2
        for ours, side in (("lora_down", "A"), ("lora_up", "B")):
            original[f"diffusion_model.{path}.lora_{side}.weight"] = tensors.pop(
                f"{name}.{ours}.weight"
            )
    assert not tensors
    found = diffusers.Krea2Pipeline.lora_state_dict(original)
    expected = load_file(tmp_path / LORA)
    assert found.keys() == expected.keys()
    assert all(torch.equal(tensor, found[name]) for name, tensor in expected.items())


def test_parts_that_do_not_fit_are_no_lora(tmp_path: Path) -> None:
    tensors = {
        f"transformer.transformer_blocks.0.attn.{part}.lora_{side}.weight": torch.zeros(shape)
        for part in ("to_q", "to_k")
        for side, shape in (("A", (2, 8)), ("B", (8 if part == "to_q" else 6, 2)))
    }
    save_file(tensors, tmp_path / LORA)
    with pytest.raises(UserError, match="holds no LoRA"):
        export_lora(tmp_path, "FluxPipeline", "kohya", tmp_path / "out.safetensors")
    odd = {name.replace("attn.to_", "ff.to_"): t for name, t in tensors.items()}
    save_file(odd, tmp_path / LORA)
    with pytest.raises(UserError, match=r"no name that is known for transformer_blocks\.0\.ff"):
        export_lora(tmp_path, "FluxPipeline", "kohya", tmp_path / "out.safetensors")


def test_an_alpha_that_the_file_says_is_kept(tmp_path: Path) -> None:
    name = "Stable Diffusion 1.5"
    folder = saved(tmp_path / "model", with_lora(name))
    tensors = load_file(folder / LORA)
    save_file(tensors, folder / LORA, {"lora_adapter_metadata": '{"unet.lora_alpha": 2.0}'})
    export_lora(folder, "StableDiffusionPipeline", "kohya", tmp_path / "out.safetensors")
    found = load_file(tmp_path / "out.safetensors")
    assert {t.item() for n, t in found.items() if n.endswith(".alpha")} == {2.0}


def test_what_is_no_lora_is_refused(tmp_path: Path) -> None:
    kind, target = "StableDiffusionPipeline", tmp_path / "out.safetensors"
    with pytest.raises(UserError, match=f"holds no {LORA}"):
        export_lora(tmp_path, kind, "kohya", target)
    save_file({"unet.conv_in.weight": torch.zeros(2, 2)}, tmp_path / LORA)
    with pytest.raises(UserError, match="holds no LoRA as"):
        export_lora(tmp_path, kind, "kohya", target)
    (tmp_path / LORA).write_bytes(b"no tensors")
    with pytest.raises(UserError, match="holds no LoRA as"):
        export_lora(tmp_path, kind, "kohya", target)
    with pytest.raises(UserError, match="comfyui has for DDPMPipeline are not known"):
        export_lora(tmp_path, "DDPMPipeline", "comfyui", target)
    (tmp_path / "model_index.json").write_text("{}")
    with pytest.raises(UserError, match="trained in full"):
        export_lora(tmp_path, kind, "kohya", target)
    assert not target.exists()


def test_a_file_with_other_weights_is_told_apart(tmp_path: Path) -> None:
    name, kind = "Stable Diffusion 1.5", "StableDiffusionPipeline"
    folder, target = saved(tmp_path / "model", with_lora(name)), tmp_path / "out.safetensors"
    export_lora(folder, kind, "kohya", target)
    assert not list(differences(folder / LORA, kind, "kohya", target))
    tensors = load_file(target)
    with safe_open(target, framework="np") as file:
        noted = file.metadata()
    save_file(tensors, target, {**noted, "ss_v2": "True"})
    assert list(differences(folder / LORA, kind, "kohya", target)) == [
        "notes something else of itself than its weights say"
    ]
    next(iter(tensors.values())).add_(1)
    save_file(tensors, target, noted)
    assert list(differences(folder / LORA, kind, "kohya", target)) == [
        f"holds other weights than {LORA}"
    ]
    target.write_bytes(b"")
    (said,) = differences(folder / LORA, kind, "kohya", target)
    assert said.startswith("cannot be compared")
