"""The arguments of `python -m memshield sample`, parsed and formatted. No torch."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from memshield.config.flags import plain_parser
from memshield.errors import UserError
from memshield.sampling.request import ImageRequest, make_request

GRID = "samples.png"
_ONE, _EACH = 16, 4
"""Pictures where nobody says how many: without prompts or of one, and of each of several."""


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
    output = given.output if given.output or given.output_dir else GRID
    return SampleArguments(
        target=given.target,
        request=make_request(prompts, number, given.num_inference_steps, given.seed),
        revision=given.revision,
        round=given.round,
        against=_path(given.against),
        base=given.base,
        output=_path(output),
        output_dir=_path(given.output_dir),
        compare=not given.no_compare,
    )


def _path(text: str | None) -> Path | None:
    return Path(text).absolute() if text else None


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
