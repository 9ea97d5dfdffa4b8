"""One optimizer step of a shard: draw, predict, mask, step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from diffusers.optimization import get_scheduler
from torch import Tensor
from torch.optim import Optimizer

from memshield.config.file import Config
from memshield.data.batches import MicroBatch
from memshield.errors import UserError
from memshield.families.base import Family
from memshield.randomness import Purpose, torch_seed
from memshield.training.anti_gradient import HeldOutBank, LossBank, masked_mean
from memshield.training.replica import Replica, Shard
from memshield.training.setup import Encoder
from memshield.training.teacher import Teacher, distilled, only


def _seed_dropout(device: torch.device, seed: int) -> None:
    """Seed what layers draw from: `torch.manual_seed` for one device.

    That one notes for each kind of device that is not there who asked, which takes a millisecond.
    """
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)


class WatchedLevels(Protocol):
    """What is known of the noise levels while a run goes on (see `watch.HeldOutWatch`)."""

    @property
    def teacher(self) -> Teacher:
        """What stopped levels regress to."""

    @property
    def bank(self) -> HeldOutBank | None:
        """The held-out loss of each level, where samples are held against it."""

    def stopped(self, slots: Tensor) -> Tensor | None:
        """Which samples are at a stopped level, [B] bool; None where none is."""


class StepResult(NamedTuple):
    """What a step tells.

    Attributes:
        loss: mean of the batch, skipped samples too.
        kept: share of the samples that were trained on.
        lr: learning rate.
    """

    loss: float
    kept: float
    lr: float


class NonFiniteLossError(RuntimeError):
    """The loss is NaN or infinite: going on would only spoil the weights."""


class HostCopy:
    """A small tensor on its way to the host while the device works on."""

    def __init__(self, tensor: Tensor) -> None:
        self._copy = tensor.to("cpu", non_blocking=True)
        self._event = None
        if tensor.is_cuda:
            self._event = torch.cuda.Event()
            self._event.record()

    def numpy(self) -> npt.NDArray[np.float32]:
        """Its values; waits for the copy, not for what was queued after it."""
        if self._event is not None:
            self._event.synchronize()
        return self._copy.numpy()


def make_optimizer(config: Config, parameters: list[torch.nn.Parameter]) -> Optimizer:
    """AdamW over the trained parameters, or Adafactor.

    Raises:
        UserError: 8-bit moments are asked for and bitsandbytes is not installed.
    """
    kwargs: dict[str, Any] = {
        "lr": peak_learning_rate(config),
        "betas": (config.adam_beta1, config.adam_beta2),
        "weight_decay": config.adam_weight_decay,
        "eps": config.adam_epsilon,
    }
    if config.use_8bit_adam:
        try:
            import bitsandbytes
        except ImportError:
            raise UserError(
                "use_8bit_adam", "bitsandbytes is not installed", "pip install bitsandbytes"
            ) from None
        return bitsandbytes.optim.AdamW8bit(parameters, **kwargs)  # type: ignore[no-any-return]
    if config.use_adafactor:
        from transformers.optimization import Adafactor

        # As diffusers' examples: the learning rate and its schedule are the config's.
        optimizer: Optimizer = Adafactor(
            parameters,
            lr=kwargs["lr"],
            weight_decay=config.adam_weight_decay,
            scale_parameter=False,
            relative_step=False,
        )
        return optimizer
    fused = parameters[0].device.type in ("cpu", "cuda")
    return torch.optim.AdamW(parameters, fused=fused, **kwargs)


def peak_learning_rate(config: Config) -> float:
    """The learning rate after warm-up; the number of processes never changes it."""
    batch = config.train_batch_size * config.gradient_accumulation_steps
    return config.learning_rate * (batch if config.scale_lr else 1)


def learning_rate_schedule(config: Config, steps: int, whole: int) -> Callable[[int], float]:
    """The learning rate of a shard's step s, counted over all its rounds.

    Warm-up and decay are given in steps of the whole run; a shard that takes `steps` of `whole`
    goes through its share of them.
    """
    peak = peak_learning_rate(config)
    carrier = torch.optim.SGD([torch.zeros(1)], lr=peak)
    scheduler = get_scheduler(
        config.lr_scheduler,
        carrier,
        num_warmup_steps=round(config.lr_warmup_steps * steps / whole),
        num_training_steps=steps,
    )
    factor: Callable[[int], float] = scheduler.lr_lambdas[0]
    return lambda step: peak * factor(step)


class Stepper:
    """Takes optimizer steps on whatever the replica holds.

    Args:
        config: resolved settings.
        family: the model.
        replica: its trained parameters.
        encoder: of batches.
        levels: of noise that are watched; None where none are.
    """

    def __init__(
        self,
        config: Config,
        family: Family,
        replica: Replica,
        encoder: Encoder,
        levels: WatchedLevels | None = None,
    ) -> None:
        self._config = config
        self._family = family
        self._replica = replica
        self._encoder = encoder
        self._levels = levels
        self._device = family.device
        self.optimizer = make_optimizer(config, replica.list())
        self._scaling = config.mixed_precision == "fp16"
        self._scaler = self._new_scaler()
        self._norm: Tensor | None = None
        self._autocast_dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(
            config.mixed_precision or "no"
        )

    def _new_scaler(self) -> torch.amp.GradScaler:
        return torch.amp.GradScaler(self._device.type, enabled=self._scaling)

    def begin_turn(self, shard: Shard) -> None:
        """Take up a shard's optimizer state: what the replica holds is its proxy from here on."""
        self._scaler = self._new_scaler()
        shard.begin_turn(self.optimizer, self._scaler)
        self._replica.shard = shard

    def end_turn(self) -> None:
        """Hand the optimizer state back to the shard.

        Raises:
            NonFiniteLossError: see `require_finite`.
        """
        self.require_finite()
        assert self._replica.shard is not None
        self._replica.shard.end_turn()
        self._replica.shard = None

    def require_finite(self) -> None:
        """Refuse weights that the last step has ruined: they are to be saved or averaged.

        A finite loss may have a gradient that is not. Otherwise the next loss tells; a look at
        every step would wait for the device.

        Raises:
            NonFiniteLossError: its gradient was NaN or infinite.
        """
        if self._norm is not None and not math.isfinite(norm := float(self._norm)):
            raise NonFiniteLossError(f"the norm of the last step's gradient is {norm}")

    def step(self, shard: Shard, step: int, batches: list[MicroBatch], lr: float) -> StepResult:
        """One step of a shard.

        Args:
            shard: whose bank and records are used.
            step: of this shard, counted over all its rounds; seeds everything drawn.
            batches: one a gradient accumulation step.
            lr: learning rate.

        Raises:
            NonFiniteLossError: a loss is NaN or infinite.
        """
        config, family = self._config, self._family
        seed = torch_seed(config.seed, Purpose.NOISE, shard.number, step)
        generator = torch.Generator(self._device).manual_seed(seed)
        _seed_dropout(self._device, torch_seed(config.seed, Purpose.DROPOUT, shard.number, step))
        threshold = float(config.skip_threshold or 0.0)
        samples = sum(len(batch.index) for batch in batches)
        bank: LossBank | HeldOutBank = shard.bank
        if self._levels is not None and self._levels.bank is not None:
            bank = self._levels.bank
        losses, slots, on_host = [], [], []
        for batch in batches:
            encoded = {
                name: tensor.to(self._device, non_blocking=True)
                for name, tensor in self._encoder.encode(batch).items()
            }
            draw = family.draw(encoded, generator)
            with torch.autocast(
                self._device.type,
                self._autocast_dtype,
                enabled=self._autocast_dtype is not None,
            ):
                prediction = family.predict(encoded, draw)
                sample = family.loss(prediction, draw)
            value, slot = sample.value.detach(), sample.slot
            if threshold > 0:
                # keep_i = [l_i >= lambda m_i], 2407.15328, section 3.3. Thresholds are those of
                # the step's start: the bank is updated after all batches.
                keep = bank.keep(value, slot, threshold)
            else:
                keep = torch.ones_like(value, dtype=torch.bool)
            trained = sample.value
            stopped = self._levels.stopped(slot) if self._levels is not None else None
            if self._levels is not None and stopped is not None:
                taught = self._levels.teacher.predict(only(encoded, stopped), draw.only(stopped))
                trained = distilled(sample.value, stopped, prediction, taught)
                keep = keep | stopped  # the mask is for what is learned from pictures
            on_host.append(HostCopy(torch.stack([value, keep.to(value.dtype)])))
            kept_now = keep.sum().clamp(min=1) if len(batches) == 1 else samples
            # sum_i keep_i w_i l_i / max(1, sum_i keep_i), 2407.15328, section 3.3
            loss = masked_mean(trained, sample.weight, keep, kept_now)
            self._scaler.scale(loss).backward()
            if stopped is not None:
                value, slot = value[~stopped], slot[~stopped]
            losses.append(value)
            slots.append(slot)
        if threshold > 0 and bank is shard.bank:
            # m <- gamma m + (1 - gamma) l_i, skipped samples too, 2407.15328, section 3.3
            shard.bank.update(torch.cat(losses), torch.cat(slots))
        values, kept = np.concatenate([copy.numpy() for copy in on_host], axis=1)
        mean = float(values.mean())
        if not math.isfinite(mean):
            self.optimizer.zero_grad()
            raise NonFiniteLossError(f"the loss of step {step} of shard {shard.number} is {mean}")
        shard.record(np.concatenate([batch.index for batch in batches]), kept > 0)
        if kept.any():
            self._update(shard, lr, samples / float(kept.sum()) if len(batches) > 1 else 1.0)
        # An all-skipped step moves nothing: momentum and weight decay would.
        self.optimizer.zero_grad()
        return StepResult(mean, float(kept.mean()), lr)

    def _update(self, shard: Shard, lr: float, correction: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        parameters = self._replica.list()
        self._scaler.unscale_(self.optimizer)
        if correction != 1.0:
            # Accumulated gradients were divided by all samples, not by those kept.
            grads = [p.grad for p in parameters if p.grad is not None]
            torch._foreach_mul_(grads, correction)
        norm = torch.nn.utils.clip_grad_norm_(parameters, self._config.max_grad_norm)
        if not self._scaling:  # which leaves such a step out
            self._norm = norm
        self._scaler.step(self.optimizer)
        self._scaler.update()
        if self._replica.ema is not None:
            self._replica.ema.optimization_step = shard.optimizer_steps
            self._replica.ema.step(parameters)
        shard.optimizer_steps += 1
