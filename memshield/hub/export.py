"""`python -m memshield export RUN_OR_REPO`: its LoRA as a file for other tools."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from memshield.config.file import make_config, read_yaml
from memshield.config.flags import given, plain_parser
from memshield.errors import UserError
from memshield.families.facts import read_facts
from memshield.families.lora_export import export_lora
from memshield.families.lora_names import FORMATS
from memshield.hub.catalog.access import require_id
from memshield.hub.pull import fetch
from memshield.rundir import RunDir


class SavedLora(NamedTuple):
    """A model whose LoRA can be exported.

    Attributes:
        name: for the file.
        folder: where it is saved.
        pipeline_class: of diffusers, of its base.
    """

    name: str
    folder: Path
    pipeline_class: str | None


def main(argv: Sequence[str]) -> int:
    """Write the LoRA of a run, or of a published model, under the names of another tool."""
    parser = plain_parser(
        "python -m memshield export",
        "Write a LoRA under the names that kohya's sd-scripts or ComfyUI load. The weights stay "
        "as they are.",
    )
    parser.add_argument("target", metavar="RUN_OR_REPO", help="run directory, or owner/name")
    parser.add_argument("--format", required=True, choices=FORMATS, help="tool that is to load it")
    parser.add_argument(
        "--output", metavar="FILE", help="file to write; by default NAME-FORMAT.safetensors"
    )
    parser.add_argument("--round", type=int, metavar="N", help="round of a run; its model without")
    parser.add_argument("--revision", metavar="NAME", help="tag, branch or commit of a repository")
    own = given(parser, argv)
    saved = _of_run(own["target"], own["round"], own["revision"])
    if saved is None:
        saved = _of_hub(own["target"], own["round"], own["revision"])
    target = Path(own["output"] or f"{saved.name}-{own['format']}.safetensors")
    if target.suffix != ".safetensors":
        raise UserError(
            "output", f"{target} does not end in .safetensors", "Choose a name that does."
        )
    if target.exists():
        raise UserError("output", f"{target} is there already", "Name a new file.")
    if not target.parent.is_dir():
        raise UserError("output", f"there is no folder {target.parent}", "Make it first.")
    count = export_lora(saved.folder, saved.pipeline_class, own["format"], target)
    print(f"{target}: {count} modules, for {own['format']}")
    return 0


def _of_run(target: str, number: int | None, revision: str | None) -> SavedLora | None:
    """The model of a run directory; None where it is none."""
    run = RunDir(target)
    if revision is not None or not run.is_run():
        return None
    config = make_config(read_yaml(run.config))
    folder = run.model if number is None else run.rounds / str(number)
    if not folder.is_dir():
        raise UserError("round", f"{folder} is not there yet", "Wait for the run, or name a round.")
    is_lora = config.training == "lora"
    pipeline_class = read_facts(config, to_train=False).pipeline_class if is_lora else None
    return SavedLora(run.path.resolve().name, folder, pipeline_class)


def _of_hub(target: str, number: int | None, revision: str | None) -> SavedLora:
    if number is not None:
        raise UserError("round", "a published model has one only", "Leave it out.")
    repo_id = require_id(target, "model", "target")
    folder, manifest = fetch(repo_id, revision)
    return SavedLora(repo_id.split("/")[-1], folder, manifest.pipeline_class)
