"""Model families: what differs between models, and nothing else.

`read_facts` and `resolve` look at JSON only; `require_noise_level` imports torch for a schedule,
`load` fetches weights as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from memshield.config.file import Config
from memshield.families.defaults import resolve
from memshield.families.facts import Facts, read_facts
from memshield.families.kinds import FLOW

if TYPE_CHECKING:
    from memshield.families.base import Family, Placement

__all__ = ["Facts", "load", "read_facts", "require_noise_level", "resolve"]


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
    if facts.family == "unconditional":
        from memshield.families.unconditional import Unconditional

        return Unconditional(config, facts, placement)
    if facts.family in FLOW:
        return _load_flow(config, facts, placement)
    if facts.family == "stable_diffusion_xl":
        from memshield.families.stable_diffusion_xl import StableDiffusionXL

        return StableDiffusionXL(config, facts, placement)
    from memshield.families.stable_diffusion import StableDiffusion

    return StableDiffusion(config, facts, placement)


def _load_flow(config: Config, facts: Facts, placement: Placement) -> Family:
    if facts.family == "flux":
        from memshield.families.flux import Flux

        return Flux(config, facts, placement)
    if facts.family == "z_image":
        from memshield.families.z_image import ZImage

        return ZImage(config, facts, placement)
    if facts.family == "qwen_image":
        from memshield.families.qwen_image import QwenImage

        return QwenImage(config, facts, placement)
    if facts.family == "flux2_klein":
        from memshield.families.flux2_klein import Flux2Klein

        return Flux2Klein(config, facts, placement)
    from memshield.families.stable_diffusion_3 import StableDiffusion3

    return StableDiffusion3(config, facts, placement)
