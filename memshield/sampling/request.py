"""Which pictures to sample: prompts, number, steps and seed. No torch."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from memshield.errors import UserError, UserErrors

LONGEST_PROMPT = 1000
"""Characters; text encoders read fewer."""
MOST_SEED = 2**53 - 1
"""The largest that a web page holds exactly."""
_UNWRITABLE = ("Cc", "Cs")
"""Kinds of characters that no command line can hold."""


@dataclass(frozen=True)
class SampleLimits:
    """Upper limits of a request.

    Attributes:
        pictures: in all.
        prompts: different ones.
        steps: of denoising.
    """

    pictures: int = 1000
    prompts: int = 100
    steps: int = 1000


ON_PAGE = SampleLimits(pictures=16, prompts=8, steps=200)
"""Limits on the page, which shows all pictures at once and whose device others wait for."""


@dataclass(frozen=True)
class ImageRequest:
    """A valid request; made by `make_request`.

    Attributes:
        prompts: for text models; () for others.
        num_images: of every prompt, from the same seeds, so that prompts can be compared.
        steps: of denoising.
        seed: of the first picture; the next has the next.
    """

    prompts: tuple[str, ...] = ()
    num_images: int = 16
    steps: int = 50
    seed: int = 0

    @property
    def total(self) -> int:
        """Pictures in all."""
        return self.num_images * max(1, len(self.prompts))

    def pictures(self) -> list[tuple[int, str | None]]:
        """Seed and prompt of every picture, prompt by prompt."""
        seeds = range(self.seed, self.seed + self.num_images)
        return [(seed, prompt) for prompt in self.prompts or (None,) for seed in seeds]

    def require_fits(self, text: bool) -> None:
        """Refuse prompts for a model without text input, and missing prompts for one with it.

        Args:
            text: whether the model is prompted.

        Raises:
            UserError: they do not fit.
        """
        if text and not self.prompts:
            raise UserError(
                "prompt", "is empty, and this model draws what words say", "Write what to draw."
            )
        if self.prompts and not text:
            raise UserError("prompt", "this model draws without words", "Leave the prompt out.")


def make_request(
    prompts: Sequence[object], num_images: object, steps: object, seed: object,
    limits: SampleLimits = SampleLimits(),
) -> ImageRequest:  # fmt: skip
    """Check a request whose values may be of any type.

    Args:
        prompts: empty ones are left out.
        num_images, steps, seed: whole numbers.
        limits: the most that may be asked for.

    Raises:
        UserErrors: everything that is wrong with it.
    """
    errors: list[UserError] = []

    def number(field: str, value: object, least: int, most: int) -> int:
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not whole:
            errors.append(UserError(field, f"must be a whole number, is {_shown(value)}", ""))
            return least
        found = int(value)
        if not least <= found <= most:
            bounds = f"must be {least:,} to {most:,}, is {_shown(value)}"
            errors.append(UserError(field, bounds, ""))
            return least
        return found

    texts = []
    for prompt in prompts:
        try:
            texts.append(_text(prompt))
        except UserError as error:
            errors.append(error)
            break  # of a million lines, a million errors are no help
    request = ImageRequest(
        tuple(dict.fromkeys(text for text in texts if text)),
        number("num_images", num_images, 1, limits.pictures),
        number("num_inference_steps", steps, 1, limits.steps),
        number("seed", seed, 0, MOST_SEED - limits.pictures),
    )
    if len(request.prompts) > limits.prompts:
        many = f"{len(request.prompts)} are more than the {limits.prompts} that may be asked for"
        errors.append(UserError("prompt", many, "Ask for the others afterwards."))
    elif request.total > limits.pictures:
        errors.append(
            UserError(
                "num_images",
                f"{request.num_images} of each of {len(request.prompts)} prompts are "
                f"{request.total} pictures, and {limits.pictures} are the most",
                "Ask for fewer.",
            )
        )
    if errors:
        raise UserErrors(errors)
    return request


def _text(prompt: object) -> str:
    if not isinstance(prompt, str):
        raise UserError("prompt", f"must be text, is {_shown(prompt)}", "")
    text = " ".join(prompt.split())
    if len(text) > LONGEST_PROMPT:
        length = f"has {len(text):,} characters, and {LONGEST_PROMPT:,} are the most"
        raise UserError("prompt", length, "Models read some 77 words; shorten it.")
    if any(unicodedata.category(letter) in _UNWRITABLE for letter in text):
        raise UserError("prompt", "holds characters that cannot be written", "Type it anew.")
    return text


def _shown(value: object) -> str:
    if value is None or value == "":
        return "empty"
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits
        return "far too large"
    return text if len(text) <= 40 else f"{text[:37]}..."
