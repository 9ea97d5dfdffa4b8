"""Model families: what differs between models, and nothing else.

`read_facts` and `resolve` look at JSON only; `require_noise_level` imports torch for a schedule,
`load` fetches weights as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from memshield.config.file import Config
from memshield.families.defaults import resolve
from memshield.families.facts import Facts, read_facts
from memshield.families.kinds import FLOW, FamilyName

if TYPE_CHECKING:
    from memshield.families.base import Family, Placement

__all__ = ["Facts", "class_of", "load", "read_facts", "require_noise_level", "resolve"]


def require_noise_level(config: Config, facts: Facts) -> None:
    """Refuse biased draws at a level that the model's schedule does not have.

    Raises:
        UserError: all levels lie on one side of it.
    """
    if config.timestep_bias_share is None:
        return
    if facts.family in FLOW:
        from diffusers import FlowMatchEulerDiscreteScheduler

        from memshield.families.flow_matching import FlowProcess

        FlowProcess(FlowMatchEulerDiscreteScheduler.from_config(facts.scheduler), config)
        return
    from diffusers import DDPMScheduler

    from memshield.families.diffusion import DiffusionProcess

    DiffusionProcess.of(config, DDPMScheduler.from_config(facts.scheduler))


def load(config: Config, facts: Facts, placement: Placement) -> Family:
    """Fetch the weights of a resolved config's model and build its family."""
    return class_of(facts.family)(config, facts, placement)


def class_of(family: FamilyName) -> type[Family]:
    """The class that trains a family; imports torch, and only what this one needs."""
    if family == "unconditional":
        from memshield.families.unconditional import Unconditional

        return Unconditional
    if family in FLOW:
        return _class_of_flow(family)
    if family == "stable_diffusion_xl":
        from memshield.families.stable_diffusion_xl import StableDiffusionXL

        return StableDiffusionXL
    from memshield.families.stable_diffusion import StableDiffusion

    return StableDiffusion


def _class_of_flow(family: FamilyName) -> type[Family]:
    if family == "flux":
        from memshield.families.flux import Flux

        return Flux
    if family == "z_image":
        from memshield.families.z_image import ZImage

        return ZImage
    if family == "qwen_image":
        from memshield.families.qwen_image import QwenImage

        return QwenImage
    if family == "flux2_klein":
        from memshield.families.flux2_klein import Flux2Klein

        return Flux2Klein
    if family == "krea2":
        from memshield.families.krea2 import Krea2

        return Krea2
    from memshield.families.stable_diffusion_3 import StableDiffusion3

    return StableDiffusion3
