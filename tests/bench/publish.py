"""Memory and time of publishing a large model, and of pulling it again.

python -m tests.bench.publish [--gigabytes 2]
Aim: under 500 MB above the process's start, whatever the size of the weights. The Hub is on
loopback, so the time says what hashing and sending cost here, not what a network does.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save_file

from memshield.rundir import RunDir
from tests.bench.common import ROOT, report
from tests.hub_server import HubServer
from tests.tiny import unet_config
from tests.trained_runs import digits, train

TOKEN = "hf_" + "adasownsecrettokenofthirtyfour"
TENSOR = 250_000_000
CHILD = """
import json, re, sys, time
from pathlib import Path
from memshield.__main__ import main
import memshield.hub.publish.command, memshield.hub.pull
# Not getrusage: a child begins with the peak of the process that started it.
peak = lambda: 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
before, begun = peak(), time.perf_counter()
code = main(sys.argv[1:])
print(json.dumps({"code": code, "start_bytes": before, "above_start_bytes": peak() - before,
                  "seconds": time.perf_counter() - begun}))
"""


def large_run(folder: Path, size: int) -> RunDir:
    """A run whose model has weights of this many bytes, of random numbers."""
    run = train(**digits(folder / "run", unet_config(folder), num_rounds=1, max_train_steps=2))
    rng = np.random.default_rng(0)
    tensors = {
        f"layer.{number}": rng.random(TENSOR // 4, dtype=np.float32)
        for number in range(size // TENSOR)
    }
    weights = run.model / "unet" / "diffusion_pytorch_model.safetensors"
    weights.unlink()
    save_file(tensors, weights, metadata={"format": "pt"})
    return run


def measured(hub: HubServer, folder: Path, *words: str) -> dict[str, Any]:
    """What a command took, in a process of its own."""
    child = subprocess.run(
        [sys.executable, "-c", CHILD, *words],
        cwd=ROOT,
        env=hub.environ(folder / "home", TOKEN) | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(child.stdout.splitlines()[-1])
    assert found.pop("code") == 0, child.stderr
    return found


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=2)
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    options.device = "cpu"
    torch.set_num_threads(1)
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    with tempfile.TemporaryDirectory() as name, HubServer() as hub:
        folder = Path(name)
        hub.add_user("ada", TOKEN)
        run = large_run(folder, int(options.gigabytes * 1e9))
        size = sum(path.stat().st_size for path in run.model.rglob("*") if path.is_file())
        publish = measured(
            hub, folder, "publish", str(run.path), "--hub_model_id", "ada/large",
            "--hub_license", "mit",
        )  # fmt: skip
        pull = measured(hub, folder, "pull", "ada/large")
        report("publish", options, {"bytes": size}, publish=publish, pull=pull)


if __name__ == "__main__":
    main()
