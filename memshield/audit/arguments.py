"""Flags of `audit`, and those that it shares with `compare`. No torch."""

from __future__ import annotations

import argparse
from typing import Any

from memshield.config.flags import config_parser
from memshield.config.schema import DataSettings, ModelSettings

OWN = ("target", "model", "base", "weight_name", "round", "images", "num_images", "seed",
       "num_inference_steps", "prompts", "features", "sscd", "sscd_sha256", "beside",
       "held_out", "held_out_split", "held_out_data_dir", "no_attacks", "output_dir")  # fmt: skip
EMBEDDABLE = 64
"""Pictures of fewer pixels a side are far from what DINOv2 and CLIP were trained on."""


def audit_parser() -> argparse.ArgumentParser:
    """The command line of `audit`; settings of the dataset are those of a config."""
    parser = config_parser(
        "python -m memshield audit",
        "Measure what a model gives back of its training pictures, and what quality it has. "
        "TARGET is a run; --model any other pipeline or LoRA, with the dataset it was trained on; "
        "--images takes pictures that any generator made.",
        (ModelSettings, DataSettings),
        "TARGET | --model ID [--name value ...]",
    )
    add_options(parser)
    parser.add_argument("target", nargs="?", metavar="TARGET", help="run, folder or Hub id")
    parser.add_argument(
        "--model", metavar="ID", help="Hub id or folder of a diffusers pipeline or LoRA"
    )
    parser.add_argument(
        "--base", metavar="ID", help="Hub id or folder of the pipeline that a LoRA goes on"
    )
    parser.add_argument("--weight_name", metavar="FILE", help="of a LoRA, where there are several")
    parser.add_argument(
        "--dataset", dest="dataset_name", metavar="ID",
        help="the pictures that it was trained on: Hub id, file or folder, as --dataset_name",
    )  # fmt: skip
    parser.add_argument(
        "--held_out", "--held-out", metavar="WHAT",
        help="pictures that it was not trained on: Hub id, folder, split, or a share such as "
        "20%% at the end of the dataset",
    )  # fmt: skip
    parser.add_argument("--round", type=int, metavar="N", help="round of a run; else its model")
    parser.add_argument("--images", metavar="DIR", help="pictures to audit instead of a model")
    parser.add_argument(
        "--beside",
        metavar="PATH",
        action="append",
        help="another audit or audited run to show beside, or base; may be given again",
    )
    parser.add_argument(
        "--held_out_split", metavar="NAME", help="split of the dataset that was not trained on"
    )
    parser.add_argument(
        "--held_out_data_dir", metavar="DIR", help="folder of pictures that were not trained on"
    )
    return parser


def add_options(parser: argparse.ArgumentParser) -> None:
    """The flags that audits and comparisons share."""
    parser.conflict_handler = "resolve"  # --seed and others mean the audit's own here
    number: dict[str, Any] = {"type": int, "metavar": "N"}
    parser.add_argument(
        "--num_images", **number, help="pictures to generate; by default by the size of the set"
    )
    parser.add_argument("--seed", **number, help="of the generated pictures [0]")
    parser.add_argument("--num_inference_steps", **number, help="of denoising [50]")
    parser.add_argument(
        "--prompts",
        metavar="KIND",
        help="train, held_out, perturbed, validation (the run's own), or a text file [train]",
    )
    parser.add_argument(
        "--features",
        metavar="A,B",
        help="feature spaces beside pixels: dinov2, clip, a Hub id or folder, or none; "
        f"by default dinov2, and clip for text models, from {EMBEDDABLE} px up",
    )
    parser.add_argument("--sscd", metavar="FILE", help="SSCD's TorchScript: a program, run here")
    parser.add_argument("--sscd_sha256", metavar="HEX", help="its digest, checked before it runs")
    parser.add_argument("--no_attacks", action="store_true", help="leave membership inference out")
    parser.add_argument("--output_dir", "--out", metavar="DIR", help="where the report goes")
