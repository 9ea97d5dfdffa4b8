"""Plain training loops: what diffusers' example scripts do in a step, and in what order.

Written anew after train_unconditional and train_text_to_image_lora: pictures are decoded and
transformed as they are drawn, a text model encodes pictures and captions in every step, the loss
is one mean over the batch. Those of flow matching are written after train_dreambooth_lora_flux and
its neighbours, whose pictures are in memory and whose cache holds whole batches. Left out is what
would only slow them: checkpoints, samples, trackers, accelerate's wrappers.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from diffusers.optimization import get_scheduler
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader

from tests.families.flow_scripts import Loss

WARM_UP, LONG = 100, 10_000
"""Steps of the learning rate's schedule."""


def transform(side: int, mode: str) -> Callable[[Image.Image], Tensor]:
    """Resize the shorter side, crop at random, to a tensor, to [-1, 1], as torchvision would.

    Args:
        side: of the crop, in pixels.
        mode: L or RGB.
    """
    half = torch.tensor([0.5] * len(mode)).view(-1, 1, 1)

    def apply(image: Image.Image) -> Tensor:
        image = image.convert(mode)
        scale = side / min(image.size)
        if scale != 1:
            size = round(image.width * scale), round(image.height * scale)
            image = image.resize(size, Image.Resampling.BILINEAR)
        left = int(torch.randint(0, image.width - side + 1, (1,)))
        top = int(torch.randint(0, image.height - side + 1, (1,)))
        if image.size != (side, side):
            image = image.crop((left, top, left + side, top + side))
        pixels = torch.from_numpy(np.array(image)).view(side, side, len(mode))
        return pixels.permute(2, 0, 1).contiguous().float().div(255).sub_(half).div_(half)

    return apply


class _Updates:
    """What follows a loss in both scripts."""

    def __init__(self, parameters: list[nn.Parameter], learning_rate: float) -> None:
        self._parameters = parameters
        self._optimizer = torch.optim.AdamW(parameters, lr=learning_rate)
        self._schedule = get_scheduler(
            "cosine", self._optimizer, num_warmup_steps=WARM_UP, num_training_steps=LONG
        )

    def take(self, loss: Tensor) -> float:
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._parameters, 1.0)
        self._optimizer.step()
        self._schedule.step()
        self._optimizer.zero_grad()
        return loss.detach().item()


def _endless(loader: DataLoader[dict[str, Tensor]]) -> Iterator[dict[str, Tensor]]:
    return itertools.chain.from_iterable(itertools.repeat(loader))


def unconditional(
    network: nn.Module, scheduler: DDPMScheduler, rows: Any, batch: int, learning_rate: float,
    device: str,
) -> Iterator[float]:  # fmt: skip
    """Trains all weights of a UNet2DModel; a loss a step.

    Args:
        network: grey pictures, trained in place.
        scheduler: of the noise.
        rows: a datasets.Dataset with an "image" column.
        batch: pictures a step.
        learning_rate: peak.
        device: that the network is on.
    """
    side = int(network.config.sample_size)  # type: ignore[union-attr, arg-type]
    augment = transform(side, "L")
    rows = rows.with_transform(
        lambda examples: {"input": [augment(image) for image in examples["image"]]}
    )
    loader: DataLoader[dict[str, Tensor]] = DataLoader(
        rows, batch_size=batch, shuffle=True, drop_last=True
    )
    updates = _Updates(list(network.parameters()), learning_rate)
    network.train()
    for drawn in _endless(loader):
        clean = drawn["input"].to(device)
        noise = torch.randn(clean.shape, device=device)
        levels = torch.randint(
            0, scheduler.config.num_train_timesteps, (len(clean),), device=device
        )
        noisy = scheduler.add_noise(clean, noise, levels)
        predicted = network(noisy, levels).sample
        yield updates.take(F.mse_loss(predicted.float(), noise.float()))


def text_to_image_lora(
    base: Path, rows: Any, batch: int, learning_rate: float, side: int, device: str
) -> Iterator[float]:
    """Trains a LoRA of rank 4 on a Stable Diffusion; a loss a step.

    Args:
        base: folder of the pipeline.
        rows: a datasets.Dataset with the columns "image" and "text".
        batch: pictures a step.
        learning_rate: peak.
        side: of the pictures in pixels.
        device: cpu or cuda.
    """
    from peft import LoraConfig
    from transformers import CLIPTextModel, CLIPTokenizer

    scheduler = DDPMScheduler.from_pretrained(base, subfolder="scheduler")
    tokenizer = CLIPTokenizer.from_pretrained(base / "tokenizer")
    text_encoder = CLIPTextModel.from_pretrained(base / "text_encoder").to(device)
    vae = AutoencoderKL.from_pretrained(base, subfolder="vae").to(device)
    unet = UNet2DConditionModel.from_pretrained(base, subfolder="unet").to(device)
    for part in (text_encoder, vae, unet):
        part.requires_grad_(False)
    targets = ["to_k", "to_q", "to_v", "to_out.0"]
    unet.add_adapter(
        LoraConfig(r=4, lora_alpha=4, init_lora_weights="gaussian", target_modules=targets)
    )
    updates = _Updates([p for p in unet.parameters() if p.requires_grad], learning_rate)
    augment = transform(side, "RGB")

    def preprocess(examples: dict[str, list[Any]]) -> dict[str, list[Any]]:
        tokens = tokenizer(
            examples["text"],
            max_length=tokenizer.model_max_length,
            padding="max_length",
            truncation=True,
            return_tensors="pt",
        ).input_ids
        return {"pixels": [augment(image) for image in examples["image"]], "tokens": list(tokens)}

    loader: DataLoader[dict[str, Tensor]] = DataLoader(
        rows.with_transform(preprocess), batch_size=batch, shuffle=True, drop_last=True
    )
    unet.train()
    for drawn in _endless(loader):
        latents = vae.encode(drawn["pixels"].to(device)).latent_dist.sample()
        latents = latents * vae.config.scaling_factor
        noise = torch.randn_like(latents)
        levels = torch.randint(
            0, scheduler.config.num_train_timesteps, (len(latents),), device=device
        )
        noisy = scheduler.add_noise(latents, noise, levels)
        states = text_encoder(drawn["tokens"].to(device), return_dict=False)[0]
        predicted = unet(noisy, levels, states, return_dict=False)[0]
        yield updates.take(F.mse_loss(predicted.float(), noise.float(), reduction="mean"))


def flow_lora(
    base: Path, loss: Loss, pixels: Tensor, captions: Sequence[str], batch: int,
    learning_rate: float, targets: Sequence[str], cached: bool, device: str,
) -> Iterator[float]:  # fmt: skip
    """Trains a LoRA of rank 4 on a flow-matching transformer; a loss a step.

    Args:
        base: folder of the pipeline.
        loss: of its family's script.
        pixels: [N, 3, H, W] in [-1, 1].
        captions: of them.
        batch: pictures a step.
        learning_rate: peak.
        targets: names of the layers that carry the LoRA.
        cached: whether batches are encoded once, as `--cache_latents` does with the same batches
            in every epoch.
        device: cpu or cuda.
    """
    from diffusers import DiffusionPipeline
    from peft import LoraConfig

    pipeline: Any = DiffusionPipeline.from_pretrained(base).to(device)
    for part in pipeline.components.values():
        if isinstance(part, nn.Module):
            part.requires_grad_(False)
    transformer = pipeline.transformer
    transformer.add_adapter(
        LoraConfig(r=4, lora_alpha=4, init_lora_weights="gaussian", target_modules=list(targets))
    )
    updates = _Updates([p for p in transformer.parameters() if p.requires_grad], learning_rate)
    rows: Any = list(zip(pixels, captions, strict=True))
    loader: Any = DataLoader(
        rows,
        batch_size=batch,
        shuffle=True,
        drop_last=True,
        collate_fn=lambda drawn: (torch.stack([one for one, _ in drawn]), [c for _, c in drawn]),
    )
    if cached:
        pipeline.encode_prompt = _Kept(pipeline.encode_prompt, len(loader))
        pipeline.vae.encode = _Kept(pipeline.vae.encode, len(loader))
    generator = torch.Generator(device)
    transformer.train()
    while True:
        for drawn, texts in loader:
            yield updates.take(loss(pipeline, drawn.to(device), texts, generator).mean())


class _Kept:
    """Calls a function for the first batches, and gives what it gave for them from then on."""

    def __init__(self, call: Callable[..., Any], batches: int) -> None:
        self._call = call
        self._batches = batches
        self._found: list[Any] = []
        self._calls = itertools.count()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        place = next(self._calls) % self._batches
        if place == len(self._found):
            self._found.append(self._call(*args, **kwargs))
        return self._found[place]
