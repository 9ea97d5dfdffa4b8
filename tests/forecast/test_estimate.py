"""The estimate: its model's own figures, its limits, and the measurement that replaces it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from memshield.config.file import Config, make_config
from memshield.config.shipped import APP_ROOT
from memshield.errors import UserError
from memshield.forecast.cost import OWN_MODELS, ModelSize, cost_of
from memshield.forecast.estimate import (
    Estimate,
    Range,
    cut_captions_in,
    estimate,
    lost_to_squares_in,
    measured_estimate,
    seconds_on_cpu,
)
from memshield.forecast.flavours import FLAVOURS, hardware_of
from memshield.forecast.hardware import Gpu, Machine
from memshield.forecast.totals import numbers
from memshield.ui.form.choices import Choices, to_config
from memshield.ui.form.recipes import RecipeName, recipes

SD = ModelSize("stable_diffusion", 859_520_964, 512)
XL = ModelSize("stable_diffusion_xl", 2_567_463_684, 1024)
DIGITS = OWN_MODELS["configs/models/digits-unet.json"]
PLAN = {"measured": {"device": "CPU", "total_s": 100, "samples_s": 2, "peak_bytes": 1e9}}


def config_of(recipe: RecipeName, rows: int = 1221, **advanced: Any) -> Config:
    own = recipes()[recipe]
    choices = Choices(
        recipe=recipe,
        model=None if own.scratch else "a/b",
        dataset=None if own.rows else "a/b",
        advanced=advanced,
    )
    return make_config(to_config(choices, rows))


def rough(recipe: RecipeName, model: ModelSize, name: str, **advanced: Any) -> Estimate:
    rows = recipes()[recipe].rows or 1221
    config = config_of(recipe, rows, **advanced)
    return estimate(config, numbers(config, rows), model, FLAVOURS[name], 1.0)


def test_it_holds_what_is_known() -> None:
    # The demo took 117 s of one core, and the recipes' own estimates stand in their files.
    demo = rough("demo", DIGITS, "cpu-basic")
    assert demo.seconds.low < 117 and demo.seconds.high > 58
    assert demo.fits == "yes"
    lora = rough("sd_lora", SD, "a10g-small").seconds
    assert lora.low < 3600 < lora.high
    xl = rough("sdxl_lora", XL, "a10g-small").seconds
    assert xl.low < 3 * 3600 < xl.high
    assert rough("sdxl_lora", XL, "t4-small").fits == "perhaps"


@pytest.mark.parametrize("folder", ["", "/home/ada/checkout/"])
def test_a_training_on_the_cpu_knows_how_long_it_takes(folder: str) -> None:
    settings = {"model_config_name_or_path": f"{folder}configs/models/digits-unet.json"}
    config = config_of("demo", 1797).model_copy(update=settings)
    found = seconds_on_cpu(config, 1797, threads=2)
    assert found == rough("demo", DIGITS, "cpu-basic").seconds
    one = seconds_on_cpu(config, 1797, threads=1)
    assert one is not None and found is not None
    assert one.low > found.low
    unknown = config.model_copy(update={"model_config_name_or_path": "my-unet.json"})
    assert seconds_on_cpu(unknown, 1797, threads=2) is None


def test_full_training_of_sdxl_does_not_fit_on_a_small_gpu() -> None:
    found = rough("sdxl_lora", XL, "l4x1", training="full")
    assert found.fits == "no"
    assert "it does not fit" in found.lines()[1]
    assert rough("sdxl_lora", XL, "h200", training="full").fits == "yes"


def middle(recipe: RecipeName, model: ModelSize, name: str, **advanced: Any) -> Any:
    rows = recipes()[recipe].rows or 1221
    config = config_of(recipe, rows, **advanced)
    return cost_of(config, numbers(config, rows), model, FLAVOURS[name])


def test_more_work_costs_more() -> None:
    base = middle("sd_lora", SD, "a10g-small")
    assert middle("sd_lora", SD, "h100").total_s < base.total_s
    assert middle("sd_lora", SD, "t4-small", mixed_precision="fp16").total_s > base.total_s
    assert middle("sd_lora", SD, "a10g-small", resolution=768).memory_bytes > base.memory_bytes
    spared = middle("sd_lora", SD, "a10g-small", gradient_checkpointing=True)
    assert spared.memory_bytes < base.memory_bytes and spared.training_s > base.training_s
    assert middle("sd_lora", SD, "a10g-small", cache_latents=False).training_s > base.training_s
    audited = middle("sd_lora", SD, "a10g-small", audit_every_rounds=5)
    assert base.audits_s == 0 < audited.audits_s
    assert middle("sd_lora", SD, "a10g-small", num_validation_images=0).sampling_s == 0
    wide = middle("sd_lora", SD, "a10g-small", aspect_ratio_buckets="512,512;512,1024")
    assert wide.memory_bytes > base.memory_bytes and wide.training_s > base.training_s
    assert wide.sampling_s == pytest.approx(base.sampling_s), "samples stay square"
    assert middle("sd_lora", SD, "a10g-small", aspect_ratio_buckets="auto") == base
    stopping = middle("sd_lora", SD, "a10g-small", stop_levels=True)
    assert stopping.training_s > base.training_s and stopping.memory_bytes > base.memory_bytes
    assert stopping.encoding_s == pytest.approx(base.encoding_s), "as many, but some are watched"
    full = middle("sd_lora", SD, "a10g-small", training="full")
    taught = middle("sd_lora", SD, "a10g-small", training="full", stop_levels=True)
    assert taught.memory_bytes > full.memory_bytes
    held = {"training": "full", "loss_bank_reference": "held_out", "skip_threshold": 0.7}
    averaged = middle("sd_lora", SD, "a10g-small", **held, use_ema=True)
    assert averaged.training_s > middle("sd_lora", SD, "a10g-small", **held).training_s, (
        "the moving average is watched, and a bank learns from the weights that are trained"
    )
    small = middle("sd_lora", SD, "a10g-small", training="full", use_8bit_adam=True)
    assert base.memory_bytes < small.memory_bytes < full.memory_bytes


def test_the_price_is_that_of_the_time() -> None:
    found = rough("sd_lora", SD, "a10g-small")
    assert found.dollars is not None
    assert found.dollars.low == pytest.approx(found.seconds.low / 3600)
    assert found.lines()[2].startswith("price: $")
    config = config_of("demo", 1797)
    free = estimate(config, numbers(config, 1797), DIGITS, FLAVOURS["cpu-basic"])
    assert free.dollars is None and len(free.lines()) == 2


@pytest.mark.parametrize(
    "name, kind",
    [
        ("Tesla T4", "T4"), ("NVIDIA L4", "L4"), ("NVIDIA A10G", "A10G"), ("NVIDIA L40S", "L40S"),
        ("NVIDIA A100-SXM4-80GB", "A100"), ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H200", "H200"),
    ],
)  # fmt: skip
def test_gpus_by_the_names_of_their_driver(name: str, kind: str) -> None:
    found = hardware_of(Machine((Gpu(name, 10**10, True),), 8, 2**35))
    assert found is not None
    assert f"NVIDIA {kind}," in found.device and found.memory_bytes == 10**10
    assert hardware_of(Machine((Gpu("NVIDIA Future 9000", 10**10, True),), 8, 2**35)) is None
    cpu = hardware_of(Machine((), 2, 2**34))
    assert cpu is not None and not cpu.has_gpu


def test_a_measurement_replaces_it() -> None:
    found = measured_estimate("Scanning\n" + json.dumps(PLAN), 2 * 10**9, 0.5)
    assert found.seconds.low < 100 < found.seconds.high < 130
    assert (found.measured, found.fits, found.hardware) == (True, "yes", "CPU")
    assert "(measured)" in found.lines()[0]


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "null", "{}", '{"measured": null}', '{"measured": {"device": "x"}}',
        json.dumps({"measured": {**PLAN["measured"], "total_s": "soon"}}),
        json.dumps({"measured": {**PLAN["measured"], "total_s": float("nan")}}),
        json.dumps({"measured": {**PLAN["measured"], "peak_bytes": -1}}),
        "Traceback (most recent call last)",
    ],
)  # fmt: skip
def test_what_is_no_measurement_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="plan --measure --json"):
        measured_estimate(text)


def test_a_measurement_tells_captions_that_are_cut() -> None:
    plan = {**PLAN, "cut_captions": {"count": 2, "words": "2 of 9 captions are longer"}}
    assert cut_captions_in("Scanning\n" + json.dumps(plan)) == "2 of 9 captions are longer"
    assert cut_captions_in(json.dumps(PLAN)) is None


def test_what_a_plan_says_of_squares() -> None:
    assert lost_to_squares_in(json.dumps({**PLAN, "lost_to_squares": 0.25})) == 0.25
    for odd in (None, "0.5", 7.0, [0.5]):
        assert lost_to_squares_in(json.dumps({**PLAN, "lost_to_squares": odd})) is None


def test_unknown_memory_is_left_open() -> None:
    found = Estimate("x", Range(1, 2), Range(1e9, 2e9), None, None, True)
    assert found.fits is None
    assert found.lines()[1] == "memory: 1.0 to 2.0 GB"


def test_the_sizes_of_our_own_models() -> None:
    """Counted by building them where nothing is stored."""
    import torch
    from diffusers import UNet2DModel

    for name, size in OWN_MODELS.items():
        values = json.loads((APP_ROOT / name).read_text())
        with torch.device("meta"):
            unet = UNet2DModel.from_config(values)
        assert sum(p.numel() for p in unet.parameters()) == size.parameters
        assert values["sample_size"] == size.resolution
