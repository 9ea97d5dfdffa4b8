"""Figures in the documents are those of the committed results, and their links lead somewhere."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from tests.bench.common import RESULTS, ROOT
from tests.bench.tradeoff.summary import SUMMARY, headline, read_cells, summary_of, table
from tests.test_imports import ORDER

FOLDERS = (".github", "configs", "memshield", "tests")
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(path for name in FOLDERS for path in (ROOT / name).rglob("*.md"))]
)


FLOW = ("sd3", "flux", "flux2_klein", "z_image", "qwen_image")


def result(name: str) -> dict[str, Any]:
    return dict(json.loads((RESULTS / f"{name}.json").read_text()))


def rows() -> list[str]:
    """The table, from the results."""
    step, bank = result("step_cpu"), result("loss_bank_cpu")
    shards, low = result("shards_cpu"), result("low_rank_cpu")
    outer, ranks, cached = result("outer_cpu"), result("ranks_cpu"), result("cached_cpu")
    loops, planted = result("diffusers_loops_cpu"), result("planted_cpu")
    search, whole = result("neighbours_cpu"), result("neighbours_whole_cpu")
    shown, publish, page = result("report_page"), result("publish"), result("page")
    named = sum(planted["named_with_source"].values())
    ours_over_theirs = ", ".join(
        f"{loops[name]['ratio']:.3f}" for name in ("digits", "lora_encoding_every_step",
                                                    "lora_cached")
    )  # fmt: skip

    def over_plain(name: str) -> str:
        return ", ".join(f"{step[f'batch_{n}'][name]:.3f}" for n in (32, 64, 128))

    def over_loop(name: str) -> str:
        found = [result(f"flow_loops_{family}_cpu")[name]["ratio"] for family in FLOW]
        return ", ".join(f"{ratio:.3f}" for ratio in found)

    return [
        f"| samples a second over the plain loop (SD 3, FLUX.1, FLUX.2 klein, Z-Image, "
        f"Qwen-Image; a step of milliseconds), cached | {over_loop('cached')} |",
        f"| the same, encoding pictures every step, and captions too in the plain loop | "
        f"{over_loop('encoding_every_step')} |",
        f"| a step with anti-gradient control over a plain one, of these | "
        f"{over_loop('anti_gradient')} |",
        f"| a step with anti-gradient control over a plain one (batch 32, 64, 128) | "
        f"{over_plain('anti_gradient')} |",
        f"| the same with biased draws; with a held-out bank | {over_plain('biased_draws')}; "
        f"{over_plain('held_out_bank')} |",
        f"| the same with half of the noise levels stopped; with all | "
        f"{over_plain('half_of_the_levels_stopped')}; {over_plain('all_levels_stopped')} |",
        f"| the same with augmentation | {over_plain('augmentation')} |",
        f"| bank update over a loop with `.item()` (batch 128) | {bank['speed_up']:.1f} x faster |",
        f"| 8 shards over 1, same samples: time | {shards['time_ratio']:.3f} |",
        f"| 8 shards over 1: peak memory, full, moments reset | "
        f"{shards['full_reset_peak_ratio']:.3f} |",
        f"| 8 shards over 1: peak memory, LoRA (a UNet; FLUX.1's transformer) | "
        f"{shards['lora_peak_ratio']:.3f}, {result('shards_flow_cpu')['lora_peak_ratio']:.3f} |",
        f"| outer optimizer (1, 0.6), 4 shards: share of the gap to plain training closed "
        f"(held-out loss) | {outer['share_of_gap_closed']['outer_1.0_0.6']:.2f} |",
        f"| two processes over one, one thread each, 4 shards: samples a second | "
        f"{ranks['ratio']:.2f} |",
        f"| samples a second over diffusers' own training loop (pixels; LoRA encoding every step; "
        f"LoRA cached) | {ours_over_theirs} |",
        f"| LoRA with cached encodings over encoding every step: samples a second | "
        f"{cached['speed_up']:.2f} |",
        f"| nearest neighbours over the authors' way (50,000 training pictures, 32 px colour) | "
        f"{search['speed_up']:.0f} x faster, the same ones |",
        f"| 65,536 pictures looked up among 50,000, one thread | {whole['seconds']:.0f} s, "
        f"{whole['peak_bytes'] / 2**30:.1f} GiB |",
        f"| planted copies (exact, mirrored, noised, JPEG) named with their source | "
        f"{named} of 97; {planted['fresh_named']} of 903 fresh ones named, chance allows "
        f"{planted['fresh_named_by_chance']} |",
        f"| report of an audit of 10,000 pictures: size, and until a browser shows it | "
        f"{shown['bytes'] / 1000:.0f} kB, {shown['seconds_to_show']:.2f} s |",
        f"| publishing {publish['config']['bytes'] / 1e9:.1f} GB, and pulling it: memory above the "
        f"process's start | {publish['publish']['above_start_bytes'] / 1e6:.0f} MB, "
        f"{publish['pull']['above_start_bytes'] / 1e6:.0f} MB |",
        f"| the page: until it answers; until its first view stands | {page['server_up_s']:.1f} s, "
        f"{page['first_view_s']['median']:.1f} s |",
        f"| the page: age of what it shows of a training, half of the time and at most | "
        f"{page['age_s']['median']:.2f} s, {page['age_s']['largest']:.2f} s |",
        f"| the page: {page['config']['tabs']} tabs that watch one training, of one core | "
        f"{100 * page['server_cores']:.0f} % |",
        f"| low-rank mean of LoRAs: largest difference to a dense SVD | "
        f"{low['largest_difference']:.1e} |",
    ]


def test_every_figure_is_a_committed_result() -> None:
    text = (ROOT / "tests/bench/README.md").read_text(encoding="utf-8")
    for row in rows():
        assert row in text


def test_the_costs_in_the_readme_are_committed_results() -> None:
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    step, shards = result("step_cpu"), result("shards_cpu")
    batches = [step[f"batch_{n}"] for n in (32, 64, 128)]
    masked = max(abs(batch["anti_gradient"] - 1) for batch in batches)
    stopped = [100 * (batch["all_levels_stopped"] - 1) for batch in batches]
    assert f"takes as long as a plain one to within {max(1, round(100 * masked))} %" in text
    apart = math.ceil(100 * abs(shards["time_ratio"] - 1))
    assert f"eight shards take as long as one for the same samples to within {apart} %" in text
    assert f"costs {min(stopped):.0f} to {max(stopped):.0f} % a step" in text


def test_the_time_to_the_first_bar_is_the_committed_one() -> None:
    text = " ".join((ROOT / "tests/bench/README.md").read_text(encoding="utf-8").split())
    seconds = result("submit")["seconds"]
    assert f"a training on Jobs {seconds['all']:.1f} s go by" in text
    assert f"{seconds['client']:.1f} s until the job is asked for" in text
    assert f"{seconds['container']:.1f} s until the container writes" in text
    assert f"{seconds['preparation']:.1f} s until the training has begun" in text


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_the_architecture_names_every_package_in_the_order_of_imports() -> None:
    text = (ROOT / "memshield/README.md").read_text(encoding="utf-8")
    *packages, ground = ORDER[1:]
    named = re.findall(r"^\| \[?`(\w+)/`", text, re.MULTILINE)
    assert [name for name in named if name != "shipped"] == [
        name for layer in reversed(packages) for name in layer
    ]
    for name in ground:
        assert f"`{name}`" in text, name


def anchors_of(path: Path) -> set[str]:
    """The headings of a document as links name them."""
    text = path.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_relative_links_resolve(document: Path) -> None:
    text = re.sub(r"```.*?```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = unquote(target).partition("#")
        file = (document.parent / path).resolve() if path else document
        assert file.exists(), target
        assert file.is_relative_to(ROOT), target
        if anchor:
            assert anchor in anchors_of(file), target


def test_the_tables_of_memorization_against_quality_are_committed_results() -> None:
    text = (ROOT / "tests/bench/tradeoff/README.md").read_text(encoding="utf-8")
    regimes = json.loads(SUMMARY.read_text())["regimes"]
    assert regimes
    for regime, methods in regimes.items():
        assert methods == json.loads(json.dumps(summary_of(read_cells(regime)))), regime
        assert "\n".join(table(regime, methods)) in text
        assert (RESULTS / "tradeoff" / f"{regime}.svg").is_file()
    front = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "\n".join(headline(regimes)) in front


def test_results_say_where_they_come_from() -> None:
    for path in [*RESULTS.glob("*.json"), *RESULTS.glob("tradeoff/*/**/*.json")]:
        found = json.loads(path.read_text())
        assert {"command", "config", "commit", "versions", "device"} <= found.keys()
        assert not found["commit"].endswith("+"), f"{path.name} is of an uncommitted tree"
