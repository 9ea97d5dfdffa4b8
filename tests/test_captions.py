"""Captions never reach the console: they are other people's words, and often as private as the
pictures. Libraries print the part of a prompt that they cut off."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from memshield.rundir import RunDir
from tests.tiny import image_folder
from tests.trained_runs import ROOT, flags

pytestmark = pytest.mark.process

STEPS = ("--num_inference_steps", 2)

CAPTION = [f"zq{chr(97 + i // 26)}{chr(97 + i % 26)}x" for i in range(100)]
PROMPT = [f"yw{chr(97 + i // 26)}{chr(97 + i % 26)}v" for i in range(100)]


def said_by(*words: object) -> str:
    """All that a command prints, with the libraries as talkative as they come."""
    env = {name: value for name, value in os.environ.items() if "VERBOSITY" not in name}
    done = subprocess.run(
        [sys.executable, "-m", *map(str, words)],
        cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_no_command_says_a_word_of_a_long_caption(tmp_path: Path, tiny_sd: Path) -> None:
    run, prompt = RunDir(tmp_path / "run"), " ".join(PROMPT)
    training = flags(
        pretrained_model_name_or_path=tiny_sd,
        train_data_dir=image_folder(tmp_path / "set", 80, captions=[" ".join(CAPTION)] * 80),
        held_out_fraction=0.25,
        train_batch_size=2,
        max_train_steps=2,
        num_shards=1,
        num_rounds=1,
        validation_prompts=[prompt],
        num_validation_images=1,
        num_inference_steps=2,
        output_dir=run.path,
    )
    said = {
        "train": said_by("memshield.train", *training),
        "audit": said_by("memshield", "audit", run.path, "--num_images", 10, *STEPS),
        "sample": said_by(
            "memshield", "sample", run.path, "--prompt", prompt, "--num_images", 1, *STEPS,
            "--output_dir", tmp_path / "made",
        ),
    }  # fmt: skip
    assert list(run.samples.iterdir())
    for path in (*run.path.glob("*.jsonl"), run.status):
        said[path.name] = path.read_text()
    assert not {name for name, text in said.items() for word in CAPTION if word in text}
    # Training repeats its settings once, with the prompts that its owner gave.
    assert all(said["train"].count(word) == 1 for word in PROMPT)
    assert not [word for word in PROMPT if word in said["sample"] + said["audit"]]
