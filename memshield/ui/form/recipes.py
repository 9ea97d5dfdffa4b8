"""Recipes: settings to start from by kind of model, read from configs/*.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, Literal

from memshield.config.file import read_yaml
from memshield.config.recommendations import MEASURED_SHARE
from memshield.config.schema import BUILT_IN
from memshield.config.shipped import APP_ROOT
from memshield.families.kinds import FamilyName
from memshield.ui.form.strengths import strength_of

RecipeName = Literal[
    "demo", "pixels", "pixels_from_scratch", "sd_lora", "sdxl_lora", "sd3_lora", "flux_lora",
    "z_image_lora", "qwen_image_lora", "flux2_klein_lora", "krea2_lora",
]  # fmt: skip

# A file's model and pictures, settings that depend on them, and what the job sets.
_NOT_TAKEN = (
    "pretrained_model_name_or_path", "resolution", "dataset_name", "train_data_dir",
    "validation_prompts", "max_train_steps", "lr_warmup_steps", "output_dir",
)  # fmt: skip


# What tests/bench/tradeoff found best without captions: few draws at low noise, no shards or skips.
_MEASURED: Mapping[str, Any] = MappingProxyType(
    {"num_shards": 1, "skip_threshold": 0.0, "timestep_bias_share": MEASURED_SHARE[False]}
)


@dataclass(frozen=True)
class Recipe:
    """Settings to start from.

    Attributes:
        name: of the recipe.
        title: for a list of choices.
        about: its purpose, in a sentence or two.
        family: of its models.
        scratch: whether it trains a new model, which `model_config_name_or_path` names.
        settings: values by setting, without model and pictures; the demo's include them.
        rows: number of pictures of a recipe that brings its own; else None.
    """

    name: RecipeName
    title: str
    about: str
    family: FamilyName
    scratch: bool
    settings: Mapping[str, Any]
    rows: int | None = None

    @property
    def captions(self) -> bool:
        """Whether its models learn from captions."""
        return self.family != "unconditional"

    @property
    def strength(self) -> float:
        """The strength of the mitigation of its settings; see `Choices`."""
        return strength_of(self.settings.get("timestep_bias_share"), self.captions)


def _taken_from(file: str, **changes: Any) -> Mapping[str, Any]:
    values = read_yaml(APP_ROOT / "configs" / file)
    kept = {name: value for name, value in values.items() if name not in _NOT_TAKEN}
    return MappingProxyType({**kept, **changes})


@cache
def recipes() -> Mapping[RecipeName, Recipe]:
    """Read all recipes, by name, in the order in which they are offered.

    Raises:
        UserError: the files of configs/ are missing.
    """
    listed = (
        Recipe(
            "demo",
            "Demo: handwritten digits",
            "1,797 small pictures that come with the app: no network, no sign-in. It is "
            "configs/demo.yaml at half its length (30 epochs in 6 rounds), with an audit every "
            "second round.",
            "unconditional",
            True,
            _taken_from(
                "demo.yaml",
                dataset_name=BUILT_IN,
                num_train_epochs=30,
                num_rounds=6,
                audit_every_rounds=2,
                audit_num_images=300,
                memorization_budget=0.02,
            ),
            rows=1797,
        ),
        Recipe(
            "sd_lora",
            "Stable Diffusion, LoRA",
            "A LoRA for Stable Diffusion 1.x or 2.x that learns your captioned pictures.",
            "stable_diffusion",
            False,
            _taken_from("sd15-lora.yaml"),
        ),
        Recipe(
            "sdxl_lora",
            "Stable Diffusion XL, LoRA",
            "The same for SDXL at 1024 pixels; needs a GPU with 24 GB.",
            "stable_diffusion_xl",
            False,
            _taken_from("sdxl-lora.yaml"),
        ),
        Recipe(
            "sd3_lora",
            "Stable Diffusion 3, LoRA",
            "The same for Stable Diffusion 3 and 3.5; needs a GPU with 24 GB.",
            "stable_diffusion_3",
            False,
            _taken_from("sd35-medium-lora.yaml"),
        ),
        Recipe(
            "flux_lora",
            "FLUX.1-dev, LoRA",
            "A LoRA for FLUX.1-dev at 1024 pixels; needs a GPU with 40 GB.",
            "flux",
            False,
            _taken_from("flux-dev-lora.yaml"),
        ),
        Recipe(
            "z_image_lora",
            "Z-Image, LoRA",
            "A LoRA for Z-Image at 1024 pixels, which Z-Image-Turbo takes as well; needs a GPU "
            "with 24 GB.",
            "z_image",
            False,
            _taken_from("z-image-lora.yaml"),
        ),
        Recipe(
            "qwen_image_lora",
            "Qwen-Image, LoRA",
            "A LoRA for Qwen-Image at 1024 pixels; needs a GPU with 80 GB.",
            "qwen_image",
            False,
            _taken_from("qwen-image-lora.yaml"),
        ),
        Recipe(
            "flux2_klein_lora",
            "FLUX.2 klein, LoRA",
            "A LoRA for a base model of FLUX.2 klein at 1024 pixels; needs a GPU with 16 GB.",
            "flux2_klein",
            False,
            _taken_from("flux2-klein-base-lora.yaml"),
        ),
        Recipe(
            "krea2_lora",
            "Krea 2, LoRA",
            "A LoRA for Krea-2-Raw at 1024 pixels, which Krea-2-Turbo takes as well; needs a GPU "
            "with 40 GB.",
            "krea2",
            False,
            _taken_from("krea2-lora.yaml"),
        ),
        Recipe(
            "pixels",
            "Pixel model, fine-tuned",
            "Trains all weights of a DDPM or DDIM pipeline, without captions: few epochs, at a "
            "tenth of the learning rate of training from scratch.",
            "unconditional",
            False,
            _without(
                _taken_from(
                    "cifar10.yaml",
                    **_MEASURED,
                    num_train_epochs=20,
                    learning_rate=2.0e-5,
                    ema_decay=0.999,
                ),
                "model_config_name_or_path",
            ),
        ),
        Recipe(
            "pixels_from_scratch",
            "Pixel model, from scratch",
            "A new model with 36 million weights, for thousands of small pictures.",
            "unconditional",
            True,
            _taken_from("cifar10.yaml", **_MEASURED, num_train_epochs=100, ema_decay=0.999),
        ),
    )
    return MappingProxyType({recipe.name: recipe for recipe in listed})


def _without(settings: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return MappingProxyType({key: value for key, value in settings.items() if key != name})


def recipe_for(family: FamilyName) -> Recipe:
    """The recipe that fine-tunes models of a family."""
    names: dict[FamilyName, RecipeName] = {
        "unconditional": "pixels",
        "stable_diffusion": "sd_lora",
        "stable_diffusion_xl": "sdxl_lora",
        "stable_diffusion_3": "sd3_lora",
        "flux": "flux_lora",
        "z_image": "z_image_lora",
        "qwen_image": "qwen_image_lora",
        "flux2_klein": "flux2_klein_lora",
        "krea2": "krea2_lora",
    }
    return recipes()[names[family]]
