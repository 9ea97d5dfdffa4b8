"""One training of one regime by one method with one seed, audited as it goes: a cell."""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionPipeline

from memshield.audit.generate import open_generated
from memshield.audit.images import of_run
from memshield.audit.report import REPORT, Report
from memshield.audit.stats.quality import frechet_distance, kernel_distance
from memshield.audit.watch_record import WatchRecord
from memshield.config.file import make_config, read_yaml
from memshield.data.batches import PictureReader
from memshield.data.examples import Examples
from memshield.data.source import SourceSettings, open_source
from memshield.digests import weights_sha256
from memshield.rundir import RunDir
from memshield.train import main as train
from tests.bench.common import RESULTS, report
from tests.bench.tradeoff.bases import base_of, write_unet
from tests.bench.tradeoff.classifier import Classifier, classifier_of
from tests.bench.tradeoff.methods import METHODS
from tests.bench.tradeoff.regimes import REGIMES, Pool, Regime, rows_of_run
from tests.trained_runs import flags

BATCH, IMAGES, STEPS = 32, 1000, 20


def folders_of(regime: str) -> list[Path]:
    """Folders of a regime's results, one for each classifier and base; the main first."""
    folder = RESULTS / "tradeoff" / regime
    return [folder, *sorted(folder.glob("classifier-*")), *sorted(folder.glob("base-*"))]


def result_of(regime: str, method: str, seed: int) -> Path | None:
    """Where a finished cell's figures lie; None where it has not been run."""
    name = f"{method}_seed_{seed}.json"
    return next((folder / name for folder in folders_of(regime) if (folder / name).is_file()), None)


def folder_for(regime: str, accuracy: float, base: str | None = None) -> Path:
    """The folder of results that can be compared with one another.

    Neither features of two classifiers nor trainings of two bases can be compared: those of others
    than the main folder's have a folder of their own.

    Args:
        regime: its name.
        accuracy: of the classifier, which is known by it.
        base: beginning of the hash of its weights; None where there is none.
    """
    folders = folders_of(regime)
    for folder in folders:
        cells = [json.loads(path.read_text()) for path in folder.glob("*.json")]
        kinds = {(cell["classifier_accuracy"], cell["config"].get("base_sha256")) for cell in cells}
        if kinds == {(accuracy, base)} or not kinds:
            return folder
    scale = f"classifier-{1000 * accuracy:.0f}"
    return folders[0] / (scale if base is None else f"base-{base}-{scale}")


def precision_here() -> str:
    """That of the forward pass: bf16, unless this CPU would compute it in software.

    Without instructions for it, a step in bf16 takes ten times as long as one in float32.
    """
    if torch.cuda.is_available():
        return "bf16"
    able = torch.cpu.get_capabilities()
    return "bf16" if able.get("avx512_bf16") or able.get("amx_bf16") else "no"


def settings_of(regime: Regime, method: str, seed: int) -> dict[str, Any]:
    """Settings of a cell's training, without its model and folders."""
    chosen = METHODS[method]
    audits = max(1, round(regime.audits * chosen.share))
    pictures = regime.members + regime.held_out + regime.watched
    own = {
        "train_batch_size": BATCH,
        **regime.settings,
        **chosen.settings,
        **regime.own.get(method, {}),
    }
    steps = round(regime.samples * chosen.share) // own["train_batch_size"]
    rounds = int(own.pop("num_rounds", audits))
    return {
        "held_out_fraction": regime.held_out / pictures,
        "watch_fraction": regime.watched / pictures,
        "seed": seed,
        "num_rounds": rounds,
        "max_train_steps": steps,
        "lr_warmup_steps": 100,
        "adam_weight_decay": 0.0,
        "use_ema": True,
        "mixed_precision": precision_here(),
        "checkpointing_steps": 10**6,
        "checkpoints_total_limit": 1,
        "num_validation_images": 0,
        "num_inference_steps": STEPS,
        "audit_every_rounds": rounds // audits,
        "audit_num_images": IMAGES,
        **own,
    }


def run_cell(
    regime_name: str, method: str, seed: int, data: Path, work: Path, base: Path | None
) -> RunDir:
    """Train and audit; a training that was cut off goes on."""
    regime = REGIMES[regime_name]
    pool = Pool.of(data, regime.dataset)
    folder = work / regime_name / f"seed-{seed}"
    pictures = folder / "pictures.parquet"
    if not pictures.is_file():
        pool.write(rows_of_run(regime, pool, seed), pictures)
    if base is not None:
        model = {"pretrained_model_name_or_path": base}
    else:
        model = {"model_config_name_or_path": write_unet(regime, folder)}
    run = RunDir(folder / method)
    settings = settings_of(regime, method, seed)
    with _guided(regime.guidance):
        code = train(flags(**model, dataset_name=pictures, output_dir=run.path, **settings))
    assert code == 0, f"exit code {code}"
    return run


@contextlib.contextmanager
def _guided(scale: float | None) -> Iterator[None]:
    """Have the stock pipeline guide its pictures by a scale of the bench's, if it has one."""
    call = StableDiffusionPipeline.__call__

    def guided(self: StableDiffusionPipeline, *args: Any, **values: Any) -> Any:
        return call(self, *args, **{"guidance_scale": scale, **values})

    if scale is not None:
        StableDiffusionPipeline.__call__ = guided
    try:
        yield
    finally:
        StableDiffusionPipeline.__call__ = call


def rows_of(run: RunDir, regime: Regime, samples: int, classifier: Classifier) -> list[Any]:
    """What every audit of a run says, with quality in the classifier's features beside pixels."""
    config = make_config(read_yaml(run.config))
    examples = Examples.read(run.examples)
    reader = PictureReader(
        open_source(SourceSettings.of(config)), examples, regime.channels, regime.resolution, False
    )
    real = of_run(reader, examples.held_out())[:]
    real_features = classifier.features(real)
    rows = []
    every = int(config.audit_every_rounds or 1)
    for number in range(every, config.num_rounds + 1, every):
        folder = run.audit_of(number)
        found = Report.read(folder / REPORT)
        generated = classifier.features(open_generated(folder).images[:])
        kernel = kernel_distance(real_features, generated)
        squared = found.memorization[0]
        second = next(m for m in found.memorization if m.statistic.startswith("first over second"))
        pixels = {q.measure: q for q in found.quality}
        rows.append(
            {
                "samples": samples * number // config.num_rounds,
                "excess": squared.excess,
                "excess_interval": list(squared.excess_interval or ()),
                "excess_second_ratio": second.excess,
                "pixels": {
                    "KID": pixels["KID"].value,
                    "KID_interval": list(pixels["KID"].interval or ()),
                    "Frechet": pixels["Frechet distance"].value,
                    "precision": pixels["precision"].value,
                    "recall": pixels["recall"].value,
                },
                "classifier": {
                    "KID": kernel.value,
                    "KID_interval": list(kernel.interval),
                    "Frechet": frechet_distance(real_features, generated).value,
                },
            }
        )
    return rows


def main() -> None:
    """Run a cell and write its result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("regime", choices=REGIMES)
    parser.add_argument("method", choices=METHODS)
    parser.add_argument("seed", type=int)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--work", type=Path, required=True)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    regime, chosen = REGIMES[options.regime], METHODS[options.method]
    pool = Pool.of(options.data, regime.dataset)
    classifier = classifier_of(regime, pool, options.work)
    base = base_of(regime, pool, options.data, options.work) if regime.fine_tuned else None
    run = run_cell(options.regime, options.method, options.seed, options.data, options.work, base)
    record = WatchRecord.read(run.watch)
    bounds = list(record.bounds) if record else None
    unseen = pool.free[-500:]
    first = Report.read(
        next(p for p in sorted((run.path / "audit").glob("*")) if (p / REPORT).is_file()) / REPORT
    )
    samples = round(regime.samples * chosen.share)
    accuracy = classifier.accuracy(
        pool.pixels(unseen, regime.resolution, regime.channels), pool.labels[unseen]
    )
    # A base that is trained on another machine is another one.
    start = None if base is None else weights_sha256(base)[:12]
    folder = folder_for(options.regime, accuracy, start)
    path = folder / f"{options.method}_seed_{options.seed}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    report(
        str(path.relative_to(RESULTS).with_suffix("")),
        argparse.Namespace(device="cuda" if torch.cuda.is_available() else "cpu", save=True),
        {
            "regime": options.regime,
            "method": options.method,
            "seed": options.seed,
            "dataset": regime.dataset,
            "members": regime.members,
            "held_out": first.data.held_out,
            "images": IMAGES,
            **({} if regime.guidance is None else {"guidance": regime.guidance}),
            **({} if start is None else {"base_sha256": start}),
            "settings": settings_of(regime, options.method, options.seed),
        },
        command="python -m tests.bench.tradeoff.cell "
        f"{options.regime} {options.method} {options.seed} --work WORK",
        statistic=first.memorization[0].statistic,
        chance=first.memorization[0].control,
        training_pictures=first.data.training,
        classifier_accuracy=accuracy,
        bounds=bounds,
        stopped=list(record.stopped) if record and record.stops else None,
        rounds=rows_of(run, regime, samples, classifier),
    )
    # Weights of all rounds are no longer needed; events and reports stay.
    for left in (run.rounds, *(run.path / f"checkpoint-{step}" for step in run.checkpoints())):
        shutil.rmtree(left, ignore_errors=True)


if __name__ == "__main__":
    np.seterr(all="raise", under="ignore")
    main()
