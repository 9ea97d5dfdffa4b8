"""Memorization against quality over a training: plain, and with each part of the method.

python -m tests.bench.tradeoff --dataset FILE_OR_ID [--seed 0] --save
The same pictures, seeds and samples for all; moving averages throughout; every round is audited
with the same seeds. Plain training stopped early is the baseline that counts: a variant is better
only where its curve lies below and left of the plain one. On two CPU cores a set of 16 px
pictures takes about an hour a seed.

On a GPU: --resolution 32 --members 2000 --held_out 1000 --samples 4000000, for seeds 0, 1 and 2.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import torch

from memshield.audit.plots import Point, trade_off_plot
from memshield.audit.report import REPORT, Report
from memshield.rundir import RunDir
from memshield.train import main as train
from tests.bench.common import RESULTS, report
from tests.runs import flags

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {"num_shards": 1, "skip_threshold": 0},
    "IET only": {"num_shards": 4, "skip_threshold": 0},
    "AGC only": {"num_shards": 1, "skip_threshold": 0.5},
    "IET-AGC, outer optimizer": {
        "num_shards": 4,
        "skip_threshold": 0.5,
        "outer_learning_rate": 1.0,
        "outer_momentum": 0.6,
    },
}

BUDGETS = (0.02, 0.1)


def options_of() -> argparse.Namespace:
    """Flags; the defaults are those of the CPU."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--save", action="store_true", help="write results and plot")
    parser.add_argument("--dataset", required=True, help="parquet file, folder or Hub id")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resolution", type=int, default=16)
    parser.add_argument("--channels", type=int, default=1)
    parser.add_argument("--members", type=int, default=200)
    parser.add_argument("--held_out", type=int, default=400)
    parser.add_argument("--samples", type=int, default=120_000, help="trained on, in all")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--batch", type=int, default=25)
    parser.add_argument("--num_images", type=int, default=500, help="generated an audit")
    return parser.parse_args()


def write_model(folder: Path, options: argparse.Namespace) -> Path:
    """A small UNet for pictures of this size."""
    path = folder / "unet.json"
    values = {
        "_class_name": "UNet2DModel",
        "sample_size": options.resolution,
        "in_channels": options.channels,
        "out_channels": options.channels,
        "layers_per_block": 1,
        "block_out_channels": [32, 64, 96],
        "down_block_types": ["DownBlock2D", "DownBlock2D", "AttnDownBlock2D"],
        "up_block_types": ["AttnUpBlock2D", "UpBlock2D", "UpBlock2D"],
        "norm_num_groups": 8,
        "attention_head_dim": 16,
    }
    path.write_text(json.dumps(values))
    return path


def run(folder: Path, name: str, options: argparse.Namespace) -> list[Report]:
    """Train a variant and audit all its rounds."""
    pictures = options.members + options.held_out
    output = folder / name.replace(" ", "-")
    settings = {
        "model_config_name_or_path": write_model(folder, options),
        "ddpm_beta_schedule": "squaredcos_cap_v2",
        "dataset_name": options.dataset,
        "max_train_samples": pictures,
        "held_out_fraction": options.held_out / pictures,
        "seed": options.seed,
        "num_rounds": options.rounds,
        "max_train_steps": options.samples // options.batch,
        "train_batch_size": options.batch,
        "learning_rate": 1e-3,
        "lr_warmup_steps": 100,
        "adam_weight_decay": 0.0,
        "use_ema": True,
        "ema_decay": 0.995,
        "checkpointing_steps": 10**6,
        "checkpoints_total_limit": 1,
        "num_validation_images": 0,
        "audit_every_rounds": 1,
        "audit_num_images": options.num_images,
        "output_dir": output,
        **VARIANTS[name],
    }
    assert train(flags(**settings)) == 0
    found = RunDir(output)
    reports = [
        Report.read(found.audit_of(number) / REPORT) for number in range(1, options.rounds + 1)
    ]
    target = {"name": name}
    return [
        one.model_copy(update={"target": one.target.model_copy(update=target)}) for one in reports
    ]


def figures(reports: list[Report], options: argparse.Namespace) -> list[dict[str, Any]]:
    """What a table and a plot need of every round."""
    rows = []
    for number, one in enumerate(reports, start=1):
        second = next(m for m in one.memorization if m.statistic.startswith("first over second"))
        rows.append(
            {
                "samples": options.samples * number // options.rounds,
                "excess": one.headline.excess,
                "excess_interval": list(one.headline.excess_interval or ()),
                "excess_second_ratio": second.excess,
                "quality": {q.measure: q.value for q in one.quality},
                "kid_interval": list(one.quality[0].interval or ()),
            }
        )
    return rows


def table(result: dict[str, Any]) -> list[str]:
    """What a result says, as lines of a table: the best quality under two budgets, and the end."""
    lines = [
        f"| {result['config']['dataset'].split('.')[0]}, {result['config']['members']} pictures | "
        + " | ".join(f"best KID within {100 * budget:.0f} %" for budget in BUDGETS)
        + " | at the end: excess | KID |",
        "|---" * (len(BUDGETS) + 3) + "|",
    ]
    for name, rounds in result["rounds"].items():
        cells = []
        for budget in BUDGETS:
            within = [row for row in rounds if row["excess"] <= budget]
            best = min(within, key=lambda row: row["quality"]["KID"], default=None)
            cells.append(
                f"{best['quality']['KID']:.3f} after {best['samples']:,}" if best else "none"
            )
        last = rounds[-1]
        cells += [f"{100 * last['excess']:.1f} %", f"{last['quality']['KID']:.3f}"]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def plot(result: dict[str, Any]) -> str:
    """A result as an SVG; rounds are named by their number."""
    points = [
        Point(
            str(number), name, row["excess"], tuple(row["excess_interval"]),
            row["quality"]["KID"], tuple(row["kid_interval"]),
        )
        for name, rounds in result["rounds"].items()
        for number, row in enumerate(rounds, start=1)
    ]  # fmt: skip
    return trade_off_plot(
        points,
        f"excess over chance ({result['statistic']}, pixels)",
        f"KID ({result['space']}),\nlower is better",
    )


def main() -> None:
    """Train, audit, report and draw."""
    options = options_of()
    reports: dict[str, list[Report]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in VARIANTS:
            reports[name] = run(Path(folder), name, options)
    first = reports["plain"][0]
    label = f"tradeoff_{first.data.name.split('.')[0].replace('-', '_')}_seed_{options.seed}"
    config = {
        "variants": VARIANTS,
        **{
            key: value
            for key, value in vars(options).items()
            if key not in ("save", "device", "dataset")
        },
        "dataset": first.data.name,
    }
    report(
        f"{label}_{options.device}",
        options,
        config,
        space=first.quality[0].space,
        statistic=first.headline.statistic,
        chance=first.headline.control,
        rounds={name: figures(found, options) for name, found in reports.items()},
    )
    if options.save:
        saved = json.loads((RESULTS / f"{label}_{options.device}.json").read_text())
        (RESULTS / f"{label}_{options.device}.svg").write_text(plot(saved))


if __name__ == "__main__":
    main()
