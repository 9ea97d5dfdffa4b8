"""Which pictures to sample, and the command line of `memshield sample`. No torch."""

from __future__ import annotations

import argparse
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from memshield.config.flags import plain_parser
from memshield.errors import UserError, UserErrors
from memshield.paths import expanded

GRID = "samples.png"
_ONE, _EACH = 16, 4
"""Pictures where nobody says how many: without prompts or of one, and of each of several."""

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


@dataclass(frozen=True)
class SampleArguments:
    """A parsed command line.

    Attributes:
        target: run directory, or Hub id of a published model.
        request: which pictures.
        revision: of the published model; with it the target is a Hub id whatever lies here.
        round: of a run.
        against: run directory that a published model came from.
        base: where the base of a published LoRA is, if that was withheld.
        output: PNG of the grid; None for none.
        output_dir: folder for single pictures and samples.json; None for none.
        compare: whether pictures are compared with the training pictures.
    """

    target: str
    request: ImageRequest
    revision: str | None = None
    round: int | None = None
    against: Path | None = None
    base: str | None = None
    output: Path | None = None
    output_dir: Path | None = None
    compare: bool = True

    def words(self) -> list[str]:
        """The arguments of the command."""
        request = self.request
        words = [self.target]
        for flag, value in (
            ("revision", self.revision), ("round", self.round), ("against", self.against),
            ("base", self.base), ("output", self.output), ("output_dir", self.output_dir),
            ("num_images", request.num_images), ("num_inference_steps", request.steps),
            ("seed", request.seed),
        ):  # fmt: skip
            if value is not None:
                words += [f"--{flag}", str(value)]
        # One word each: what begins with dashes is a prompt and no flag.
        words += [f"--prompt={prompt}" for prompt in request.prompts]
        return words if self.compare else [*words, "--no_compare"]


def parse_arguments(argv: Sequence[str]) -> SampleArguments:
    """Parse a command line.

    Raises:
        UserError: it is wrong.
        SystemExit: after `--help`.
    """
    given = _parser().parse_args(list(argv))
    prompts = given.prompt or []
    several = len(set(prompts)) > 1
    number = given.num_images if given.num_images is not None else _EACH if several else _ONE
    if given.round is not None and given.round < 1:
        raise UserError("round", f"must be at least 1, is {given.round}", "Rounds count from 1.")
    output = _path(given.output if given.output or given.output_dir else GRID)
    if output is not None and output.is_dir():
        raise UserError("output", f"{output} is a folder", "Name a file, or give --output_dir.")
    return SampleArguments(
        target=given.target,
        request=make_request(prompts, number, given.num_inference_steps, given.seed),
        revision=given.revision,
        round=given.round,
        against=_path(given.against),
        base=given.base,
        output=output,
        output_dir=_path(given.output_dir),
        compare=not given.no_compare,
    )


def _path(text: str | None) -> Path | None:
    return expanded(text).absolute() if text else None


def _parser() -> argparse.ArgumentParser:
    parser = plain_parser(
        "python -m memshield sample",
        "Make pictures with a run's model, or with one that was published with MemShield and is "
        "fetched and checked first. Where the training pictures are at hand, each picture is "
        "compared with them, and near-copies are told.",
    )
    parser.add_argument("target", metavar="TARGET", help="run directory, or owner/name on the Hub")
    parser.add_argument("--round", type=int, metavar="N", help="of a run; else its chosen model")
    parser.add_argument(
        "--revision", metavar="NAME", help="tag, branch or commit on the Hub; the newest without"
    )
    parser.add_argument(
        "--against", metavar="RUN",
        help="run directory that the published model came from, with whose pictures to compare",
    )  # fmt: skip
    parser.add_argument(
        "--base", metavar="NAME", help="base of a published LoRA, where its publisher withheld it"
    )
    parser.add_argument(
        "--prompt", action="append", metavar="TEXT", help="for text models; may be given again"
    )
    parser.add_argument(
        "--num_images", type=int, metavar="N",
        help=f"pictures of every prompt [{_ONE}; {_EACH} where there are several prompts]",
    )  # fmt: skip
    parser.add_argument("--num_inference_steps", type=int, default=50, metavar="N", help="[50]")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the first picture [0]")
    parser.add_argument(
        "--output", metavar="FILE", help=f"PNG of the grid [{GRID}; none with --output_dir]"
    )
    parser.add_argument(
        "--output_dir", metavar="DIR", help="new folder for single pictures and samples.json"
    )
    parser.add_argument(
        "--no_compare", action="store_true", help="do not compare with the training pictures"
    )
    return parser
