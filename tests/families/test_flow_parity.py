"""Flow-matching families against their usual scripts and their stock pipelines."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig, get_peft_model_state_dict

from memshield.digests import LORA
from memshield.errors import UserError
from memshield.families import size
from memshield.families.base import Family, Pictures
from memshield.families.caption_lengths import find_cut_captions
from memshield.families.caption_padding import end_to_end
from memshield.families.flow_transformer import FlowTransformer
from memshield.families.kinds import OWN_LENGTHS
from memshield.families.lora import targets_of
from memshield.families.size import encoded_bytes, trainable_parameters
from tests.families import loaded, looked_up
from tests.families.flow_scripts import SCRIPTS
from tests.tiny import pictures

KINDS = list(SCRIPTS)
CAPTIONS = ["a red fox", "", "2 owls in a tree"]
SIZE: dict[str, Any] = {"resolution": 16}
TEMPLATED = ("tiny_qwen_image", "tiny_krea2")


def shown() -> Pictures:
    pixels = torch.from_numpy(np.stack(pictures(3)).transpose(0, 3, 1, 2).copy())
    return Pictures(pixels, torch.tensor([[16, 16]] * 3), torch.zeros(3, 2, dtype=torch.int64))


def opened(request: pytest.FixtureRequest, kind: str) -> tuple[Path, Any]:
    base: Path = request.getfixturevalue(kind)
    pipeline = DiffusionPipeline.from_pretrained(base)
    pipeline.set_progress_bar_config(disable=True)
    return base, pipeline


def encode(family: Family) -> dict[str, torch.Tensor]:
    return family.encode_pictures(shown()) | family.encode_captions(CAPTIONS)


@pytest.mark.parametrize("training", ["lora", "full"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_first_steps_are_those_of_the_usual_script(
    request: pytest.FixtureRequest, captioned: Path, kind: str, training: str
) -> None:
    base, pipeline = opened(request, kind)
    family = loaded(base, captioned, training=training, rank=2, lora_alpha=4.0, **SIZE)
    twin = pipeline.transformer
    if training == "lora":
        twin.requires_grad_(False)
        torch.manual_seed(0)
        twin.add_adapter(
            LoraConfig(
                r=2, lora_alpha=4.0, init_lora_weights="gaussian",
                target_modules=targets_of(family.facts),
            )
        )  # fmt: skip
    theirs = [parameter for parameter in twin.parameters() if parameter.requires_grad]
    ours = family.trainable()
    assert len(ours) == len(theirs)
    settings: dict[str, Any] = {"lr": 1e-3, "eps": 1e-4}
    optimizers = [torch.optim.AdamW(one, **settings) for one in (list(ours.values()), theirs)]
    family.network.train()
    twin.train()
    pixels = shown().pixels / 127.5 - 1
    for step in range(3):
        draw = family.draw(encode(family), torch.Generator().manual_seed(step))
        found = family.loss(family.predict(encode(family), draw), draw)
        mine = found.value * found.weight
        expected = SCRIPTS[kind](pipeline, pixels, CAPTIONS, torch.Generator().manual_seed(step))
        torch.testing.assert_close(mine, expected, rtol=1e-6, atol=1e-6)
        for loss, optimizer in zip((mine, expected), optimizers, strict=True):
            loss.mean().backward()
            optimizer.step()
            optimizer.zero_grad()
    named = dict(twin.named_parameters())
    for name, parameter in ours.items():
        torch.testing.assert_close(parameter, named[name], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_samples_are_those_of_the_stock_pipeline(
    request: pytest.FixtureRequest, captioned: Path, kind: str
) -> None:
    base, pipeline = opened(request, kind)
    family = loaded(base, captioned, **SIZE)
    assert isinstance(family, FlowTransformer)
    family.release_encoders()
    mine = family.sample([5, 6, 7], CAPTIONS, 3)
    generators = [torch.Generator().manual_seed(seed) for seed in (5, 6, 7)]
    theirs = pipeline(
        prompt=CAPTIONS, generator=generators, num_inference_steps=3, height=16, width=16,
        max_sequence_length=family.config.max_sequence_length, output_type="np",
        **({"negative_prompt": [" "] * 3} if kind == "tiny_qwen_image" else {}),
    ).images  # fmt: skip
    np.testing.assert_allclose(mine, theirs, atol=1e-4)
    assert mine[0].std() > 0.01
    assert np.abs(mine[0] - mine[2]).max() > 1e-3
    # Step by step, as an attack looks into it, and guided towards nothing.
    steps = family.sampling_steps(3)
    encoded = encode(family)
    noisy = torch.randn(family.clean(encoded).shape, generator=torch.Generator().manual_seed(0))
    for timestep in steps.timesteps:
        noisy = steps.advance(noisy, steps.predict(encoded, noisy, timestep), timestep)
    torch.testing.assert_close(steps.timesteps, pipeline.scheduler.timesteps)
    assert noisy.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_lora_goes_to_diffusers_and_comes_back(
    request: pytest.FixtureRequest, tmp_path: Path, captioned: Path, kind: str
) -> None:
    base, pipeline = opened(request, kind)
    family = loaded(base, captioned, rank=2, lora_alpha=6.0, **SIZE)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in family.trainable().values():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    draw = family.draw(encode(family), torch.Generator().manual_seed(0))
    family.network.eval()
    before = family.predict(encode(family), draw)
    family.save(tmp_path)
    pipeline.load_lora_weights(tmp_path)
    stock = loaded(base, captioned, training="full", **SIZE)
    untouched = stock.predict(encode(stock), draw)
    stock.network = pipeline.transformer.eval()
    assert torch.allclose(stock.predict(encode(stock), draw), before, atol=1e-5)
    assert not torch.allclose(untouched, before, atol=1e-3)
    fused = loaded(base, captioned, training="full", **SIZE)
    fused.fuse_lora(tmp_path, LORA)
    assert torch.allclose(fused.predict(encode(fused), draw), before, atol=1e-5)
    # As diffusers' scripts save it: the scale stands in the metadata, and not in the weights.
    twin = pipeline.transformer
    (tmp_path / "theirs").mkdir()
    twin.peft_config["default_0"].lora_alpha = 8.0
    type(pipeline).save_lora_weights(
        tmp_path / "theirs",
        transformer_lora_layers=get_peft_model_state_dict(twin, adapter_name="default_0"),
        transformer_lora_adapter_metadata=twin.peft_config["default_0"].to_dict(),
    )
    family.load_saved(tmp_path / "theirs")
    scale = {name: p for name, p in family.trainable().items() if ".lora_B." in name}
    for name, parameter in scale.items():
        held = dict(twin.named_parameters())[name.replace(".default.", ".default_0.")]
        # 6 / 2 of ours does what 8 / 2 of theirs does.
        assert torch.allclose(parameter * 3, held * 4, atol=1e-6)
    family.load_saved(tmp_path)
    assert torch.allclose(family.predict(encode(family), draw), before, atol=1e-6)


@pytest.mark.parametrize("kind", ["tiny_sd3", "tiny_flux"])
def test_a_lora_of_the_text_encoder_is_fused_too(
    request: pytest.FixtureRequest, tmp_path: Path, captioned: Path, kind: str
) -> None:
    base, pipeline = opened(request, kind)
    family = loaded(base, captioned, training="full", **SIZE)
    before = family.sample([5], CAPTIONS[:1], 2)
    held = {"text_encoder": ["q_proj", "v_proj"], "transformer": ["to_q"]}
    layers, generator = {}, torch.Generator().manual_seed(0)
    for name, targets in held.items():
        part = getattr(pipeline, name)
        part.requires_grad_(False)
        part.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=targets))
        state = get_peft_model_state_dict(part, adapter_name="default")
        for tensor in state.values():
            tensor.normal_(std=0.3, generator=generator)
        layers[f"{name}_lora_layers"] = state
    layers["text_encoder_lora_layers"] = convert_state_dict_to_diffusers(
        layers["text_encoder_lora_layers"]
    )
    type(pipeline).save_lora_weights(tmp_path, **layers)
    theirs = pipeline(
        prompt=CAPTIONS[:1], generator=[torch.Generator().manual_seed(5)], num_inference_steps=2,
        height=16, width=16, max_sequence_length=family.config.max_sequence_length,
        output_type="np",
    ).images  # fmt: skip
    family.fuse_lora(tmp_path, LORA)
    mine = family.sample([5], CAPTIONS[:1], 2)
    np.testing.assert_allclose(mine, theirs, atol=1e-4)
    assert np.abs(mine - before).max() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_every_condition_counts(request: pytest.FixtureRequest, captioned: Path, kind: str) -> None:
    family = loaded(request.getfixturevalue(kind), captioned, **SIZE)
    encoded = encode(family)
    draw = family.draw(encoded, torch.Generator().manual_seed(0))
    before = family.predict(encoded, draw)
    for name, value in encoded.items():
        if name != "moments" and value.is_floating_point():
            other = family.predict({**encoded, name: value + 1}, draw)
            assert not torch.allclose(before, other, rtol=1e-6), name
    # Epsilon follows from whatever the loss is taken on.
    noisy = family.noised(draw.clean, draw.noise, draw.level)
    level = family.noise_levels()[draw.level].float().reshape(-1, *[1] * (noisy.ndim - 1))
    sigma = level / (1 + level)
    if type(family).preconditioned:  # type: ignore[attr-defined]
        expected = (noisy - (1 - sigma) * before) / sigma
    else:
        expected = noisy + (1 - sigma) * before
    assert torch.allclose(family.predict_noise(encoded, noisy, draw.level), expected, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_sizes_are_known_without_weights(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    captioned: Path,
    kind: str,
) -> None:
    if kind in TEMPLATED:  # of their templates each letter is a token here
        monkeypatch.setattr(size, "_TEMPLATE", 200)
    family = loaded(request.getfixturevalue(kind), captioned, **SIZE)
    held = sum(parameter.numel() for parameter in family.trainable().values())
    assert trainable_parameters(family.config, family.facts) == held
    picture, captions = encoded_bytes(family.config, family.facts, CAPTIONS)
    assert picture == family.encode_pictures(shown())["moments"][0].nbytes
    stored = family.encode_captions(CAPTIONS)
    lengths = stored.get("mask", torch.ones(3, 0)).sum(dim=1).tolist()
    found = sum(tensor.nbytes for tensor in end_to_end(stored).values())
    if family.facts.family not in OWN_LENGTHS:
        assert captions == found
    else:
        assert found <= captions <= 2 * found
    assert len(set(lengths)) == (3 if family.facts.family in OWN_LENGTHS else 1)


@pytest.mark.parametrize("kind", [*KINDS, "tiny_sd"])
def test_captions_that_are_cut_are_counted(
    request: pytest.FixtureRequest, captioned: Path, kind: str
) -> None:
    family = loaded(request.getfixturevalue(kind), captioned, **SIZE)
    config, facts = family.config, family.facts
    _, most = family.count_tokens(config, facts, [""])
    long = "a" * most
    assert find_cut_captions(config, facts, ["a fox", ""]) is None
    cut = find_cut_captions(config, facts, ["a fox", long, ""])
    assert cut is not None and cut.longest >= most
    assert f"1 of 3 captions are longer than the {most} tokens" in cut.words
    assert ("Raise max_sequence_length" in cut.words) is (kind != "tiny_sd")
    # The longest caption that fits is whole, and what lies beyond changes nothing.
    (shortest,), _ = family.count_tokens(config, facts, ["a"])
    fits = "a" * (most - shortest)
    assert find_cut_captions(config, facts, [fits + "a"]) is None
    assert find_cut_captions(config, facts, [fits + "aa"]) is not None
    texts = [long, long + "a", fits + "a", fits + "b"]
    found = family.encode_captions(texts)["text"]
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[2], found[3])


def test_a_model_without_its_tokenizer(tmp_path: Path, tiny_flux: Path, captioned: Path) -> None:
    base = shutil.copytree(tiny_flux, tmp_path / "base")
    shutil.rmtree(base / "tokenizer_2")
    config, facts = looked_up(base, captioned, resolution=16)
    with pytest.raises(UserError, match="has no tokenizer_2"):
        find_cut_captions(config, facts, ["a fox"])


@pytest.mark.parametrize("training", ["lora", "full"])
@pytest.mark.parametrize("kind", KINDS)
def test_it_runs_in_lower_precision(
    request: pytest.FixtureRequest, captioned: Path, kind: str, training: str
) -> None:
    base, dtype = request.getfixturevalue(kind), torch.bfloat16
    family = loaded(
        base, captioned, dtype, training=training, mixed_precision="bf16",
        gradient_checkpointing=True, **SIZE,
    )  # fmt: skip
    assert isinstance(family, FlowTransformer)
    exact = set(getattr(family.network, "_keep_in_fp32_modules", None) or ())
    held = {
        parameter.dtype
        for name, parameter in family.network.named_parameters()
        if not parameter.requires_grad and exact.isdisjoint(name.split("."))
    }
    assert held == ({dtype} if training == "lora" else set())
    assert {p.dtype for p in family.trainable().values()} == {torch.float32}
    encoded = encode(family)
    assert family.vae.dtype == torch.float32
    family.network.train()
    draw = family.draw(encoded, torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype):
        found = family.loss(family.predict(encoded, draw), draw)
    found.value.mean().backward()
    assert found.value.dtype == torch.float32 and found.value.isfinite().all()
    gradients = [p.grad for p in family.trainable().values() if p.grad is not None]
    assert gradients and all(gradient.isfinite().all() for gradient in gradients)
    full = loaded(base, captioned, training=training, **SIZE)
    same = full.loss(full.predict(encode(full), draw), draw)
    assert torch.allclose(found.value, same.value, rtol=0.05)
    assert family.predict_noise(encoded, draw.noise, draw.level).dtype == torch.float32
    pictures = family.sample([1], ["a fox"], 2)
    assert np.isfinite(pictures).all()
