"""`python -m memshield sample TARGET`: pictures of a run's or a published model.

They are made as stock diffusers makes them; where the training pictures are at hand, each is held
against these.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memshield.errors import UserError
from memshield.quantities import plural
from memshield.sampling.record import NAME, Recorder, Samples, read_samples
from memshield.sampling.request import SampleArguments, parse_arguments
from memshield.sampling.target import SampledModel, is_hub_id, open_target
from memshield.training.failures import is_out_of_memory

if TYPE_CHECKING:
    import torch

    from memshield.sampling.nearness import CopyWatch


def main(argv: Sequence[str]) -> int:
    """Draw the pictures, write them down, and say which are near-copies."""
    arguments = parse_arguments(argv)
    if arguments.output_dir is not None:
        _require_empty(arguments.output_dir)
    recorder = Recorder(
        arguments.output_dir,
        Samples(
            model=arguments.target
            if is_hub_id(arguments)
            else Path(arguments.target).resolve().name,
            revision=arguments.revision,
            total=arguments.request.total,
            steps=arguments.request.steps,
        ),
    )
    try:
        _draw(arguments, recorder)
    except UserError as error:
        recorder.note(stage="failed", problem=error.on_page)
        raise
    recorder.note(stage="done")
    _tell(recorder.samples)
    for made in (arguments.output, arguments.output_dir):
        if made is not None:
            print(made)
    return 0


def _require_empty(folder: Path) -> None:
    held = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    # All that a command leaves which failed before it drew; the mended one takes its place.
    left = read_samples(folder) if held == [NAME] else None
    is_failed = left is not None and left.stage == "failed"
    if folder.is_file() or (held and not is_failed):
        raise UserError("output_dir", f"{folder} is not empty", "Name a new folder.")
    folder.mkdir(parents=True, exist_ok=True)


def _draw(arguments: SampleArguments, recorder: Recorder) -> None:
    target = open_target(arguments)
    recorder.note(model=target.name, stage="loading", not_compared=target.not_compared)
    arguments.request.require_fits(target.text)

    import torch

    from memshield.sampling.drawing import columns_of, draw
    from memshield.training.sample_grid import grid, save_picture

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    watch = _watch(target, device, recorder)
    try:
        pipeline = _on_device(target, device)
        pictures = draw(
            pipeline,
            arguments.request,
            target,
            watch,
            recorder,
            arguments.output_dir,
            keep=arguments.output is not None,
        )
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        where = "the GPU" if device.type == "cuda" else "the machine"
        raise UserError(
            "num_images", f"{where} is out of memory", "Ask for fewer, or free it of other work."
        ) from None
    if arguments.output is not None:
        save_picture(grid(pictures, columns_of(arguments.request)), arguments.output)


def _on_device(target: SampledModel, device: torch.device) -> Any:
    """The pipeline, in half precision where it is large and the device has it."""
    import torch

    precision: dict[str, Any] = {}
    if target.text and device.type == "cuda":
        # Activations of flow-matching transformers are beyond float16's range.
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        precision["torch_dtype"] = torch.bfloat16 if has_bf16 else torch.float16
    pipeline = target.open(**precision).to(device)
    if hasattr(pipeline, "vae"):
        pipeline.vae.enable_slicing()  # decoders take much memory
    return pipeline


def _watch(target: SampledModel, device: torch.device, recorder: Recorder) -> CopyWatch | None:
    """The watch for near-copies; None, with the reason noted, where it cannot be made."""
    if target.run is None:
        return None
    from memshield.audit.subject import pictures_of
    from memshield.sampling.nearness import CopyWatch

    try:
        reference = pictures_of(target.run)
    except UserError as error:
        why = f"The training pictures cannot be looked at: {error.problem}."
        recorder.note(not_compared=why)
        return None
    watch = CopyWatch(reference, target.reports, device)
    recorder.note(
        compared=len(reference.members), run=target.run.path.resolve().name, rule=watch.rule
    )
    return watch


def _tell(samples: Samples) -> None:
    """Print warnings about the pictures."""
    if samples.not_compared is not None:
        print(samples.not_compared)
        return
    if samples.rule is not None and samples.rule.source == "fixed":
        print("No audit tells what is usual among these pictures: a fixed rule is used.")
    words = {"near_copy": "a near-copy of a training picture", "close": "closer than usual"}
    for one in samples.pictures:
        if one.broken:
            print(f"{one.file} (seed {one.seed}) is broken: it has values that are no numbers")
        elif one.warning is not None and one.warning.level in words:
            said = words[one.warning.level]
            print(f"{one.file} (seed {one.seed}) is {said}: {one.warning.value:.3f}")
    levels = [one.warning.level for one in samples.pictures if one.warning is not None]
    if not levels:
        print("No picture could be compared with the training pictures.")
        return
    copies = levels.count("near_copy")
    be = "is a near-copy" if copies == 1 else "are near-copies"
    print(f"{copies} of {plural(len(levels), 'picture')} {be} of training pictures.")
