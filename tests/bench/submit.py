"""Time from `submit` in a terminal to the first bar of the training on Jobs, step by step.

python -m tests.bench.submit [--repeats 5] [--save]
Aim: under 5 s. The Hub is on loopback and runs the container's command as a child process on this
machine: no image is fetched, no package is installed, and no machine is waited for. The time is
that of the person's command and of the training's own start, on the same processors.

- client: until the Hub was asked to start the job.
- container: from there to the training's first status.
- preparation: from there to the first bar here.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from tests.bench.common import ROOT, arguments_parser, report
from tests.hub_server import HubServer

TOKEN = "hf_" + "adasownsecrettokenofthirtyfour"
BAR = b"step/s"
"""What a bar says of its speed, or that there is none yet."""


def time_to_bar(hub: HubServer, folder: Path) -> dict[str, float]:
    """Seconds of each part, and in all."""
    words = ["submit", "--config", "configs/demo.yaml", "--output_dir", str(folder / "run")]
    begun = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, "-m", "memshield", *words, "--hardware", "cpu-basic", "--yes"],
        cwd=ROOT, env=hub.environ(folder / "home", TOKEN),
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    times: dict[str, float] = {}
    watching = threading.Thread(target=_watch, args=(hub, begun, times), daemon=True)
    watching.start()
    assert child.stderr is not None
    said = b""
    while BAR not in said:
        part = os.read(child.stderr.fileno(), 4096)
        assert part, said.decode()
        said += part
    whole = time.perf_counter() - begun
    child.terminate()
    child.wait()
    hub.jobs.of("ada")[0].end("CANCELED")
    watching.join()
    client, wrote = times["asked"], times["wrote"]
    return {
        "client": client, "container": wrote - client, "preparation": whole - wrote, "all": whole
    }  # fmt: skip


def _watch(hub: HubServer, begun: float, times: dict[str, float]) -> None:
    """Note when the newest job was asked for, and when it wrote first."""
    before = len(hub.jobs.of("ada"))
    while len(hub.jobs.of("ada")) == before:
        time.sleep(0.01)
    times["asked"] = time.perf_counter() - begun
    run = hub.jobs.of("ada")[0].spec["labels"]["memshield-run"]
    bucket = hub.buckets.get("ada/memshield-runs")
    assert bucket is not None
    while not bucket.path(f"{run}/run/status.json").exists():
        time.sleep(0.01)
    times["wrote"] = time.perf_counter() - begun


def main() -> None:
    """Measure and report."""
    parser = arguments_parser(__doc__ or "")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    with HubServer() as hub, tempfile.TemporaryDirectory() as name:
        hub.add_user("ada", TOKEN)
        found = [
            time_to_bar(hub, Path(name) / str(number)) for number in range(options.repeats + 1)
        ][1:]  # the first one sends the code
    seconds = {part: statistics.median(one[part] for one in found) for part in found[0]}
    report("submit", options, {"config": "configs/demo.yaml", "repeats": options.repeats},
           seconds=seconds)  # fmt: skip


if __name__ == "__main__":
    main()
