"""One page with every view in its usual states, made from a real small run and made-up files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from memshield.config.file import make_config, read_yaml
from memshield.errors import UserError, UserErrors
from memshield.forecast.duplicates import DuplicatePair, DuplicatePairs
from memshield.hub.catalog.license import License
from memshield.hub.catalog.preview import Preview, Shown
from memshield.hub.manifest import Dataset
from memshield.hub.publish.assemble import Claims, assemble
from memshield.hub.publish.destination import Destination
from memshield.hub.publish.sources import Origins
from memshield.jobs.words import State
from memshield.rundir import RunDir
from memshield.runs.progress import read_progress
from memshield.runs.reports import read_audit, read_rounds
from memshield.ui.new.descriptions import (
    dataset_view,
    duplicates_view,
    model_view,
    preview_view,
)
from memshield.ui.runs.at_risk import at_risk_view
from memshield.ui.runs.charts import charts_view, figures_view
from memshield.ui.runs.pictures import samples_view
from memshield.ui.runs.progress import progress_view
from memshield.ui.runs.publish_view import plan_view, publication_view
from memshield.ui.theme import VIEW_CSS
from memshield.ui.widgets.audit import audit_view, earlier_view, rounds_view
from memshield.ui.widgets.card import card_view
from memshield.ui.widgets.log import log_text_view
from memshield.ui.widgets.problems import empty_view, problem_view, problems_view
from tests.ui.made_runs import audit_round, made_run, picture, save_grid
from tests.ui.new.test_descriptions import dataset, model
from tests.ui.runs.test_publish_view import publication
from tests.watches import made_watch

_LOG = """Digits: 120 pictures to train on, 80 held out
round 1/3 shard 1/2:  12 %|#         | 3/24\rround 1/3 shard 2/2:  33 %|###       | 8/24
Checkpoint after step 8
Warning: a line that goes on and on: /a/path/of/some/length/that/has/no/place/to/break/at/all.png
round 3/3 shard 2/2: 100 %|##########| 24/24 [00:05<00:00, loss=0.0421, kept=93%]
Done. The model is in runs/demo/model
"""


def demo(real: RunDir, folder: Path, dark: bool) -> str:
    """The page.

    Args:
        real: a run that was trained with a budget, and audited.
        folder: for made-up files.
        dark: its colours.
    """
    views = "\n".join(
        f'<h2>{name}</h2>\n<div class="view">{html}</div>' for name, html in _views(real, folder)
    )
    ink, paper = ("#f3f4f6", "#0b0f19") if dark else ("#1f2937", "#ffffff")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Views</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><style>'
        f"body {{ font-family: system-ui, sans-serif; color: {ink}; background: {paper}; "
        "max-width: 46rem; margin: 0 auto; padding: 1rem; } "
        f"h2 {{ font-size: .9rem; margin: 3rem 0 1rem; border-bottom: 1px solid; }} {VIEW_CSS}"
        "</style>"
        f'</head><body class="{"dark" if dark else ""}"><main><h1>Views</h1>{views}</main>'
        "</body></html>"
    )


def _views(real: RunDir, folder: Path) -> Iterator[tuple[str, str]]:
    yield "no runs", empty_view("No runs yet", "Start one under New training.")
    yield from _training(folder)
    yield "samples", samples_view(real, ["a seven", "a nine"])
    yield from _audits(real)
    yield "log", log_text_view(_LOG)
    yield from _publishing(real, folder)
    yield from _hub()


def _training(folder: Path) -> Iterator[tuple[str, str]]:
    run = made_run(folder / "made", steps=600, rounds=6, shards=4)
    for number, (excess, kid) in enumerate(
        ((0.002, 0.31), (0.004, 0.2), (0.013, 0.14), (0.032, 0.11), (0.081, 0.1)), 1
    ):
        audit_round(run, number, excess, kid)
        save_grid(run, number)
    made_watch().write(run.watch)
    progress, rounds = read_progress(run), read_rounds(run)
    memory = (
        "the GPU is out of memory; the last checkpoint is whole.\n"
        "Change, in order of effect, and use another output_dir where a setting may not differ:\n"
        "  1. gradient_checkpointing: true (activations a fifth, a third slower)\n"
        "  2. train_batch_size: 4 with gradient_accumulation_steps: 2"
    )
    states: list[tuple[State, dict[str, Any]]] = [
        ("running", {"attempt": 2}),
        ("preparing", {"step": 0, "total": None, "loss": None, "kept": None, "round": None,
                       "shard": None, "elapsed_s": 0.0}),
        ("stopping", {}),
        ("stopped", {"state": "stopped", "checkpoint": progress.step}),
        ("failed", {"reason": memory, "error": "out_of_memory"}),
        ("died", {}),
        ("done", {"reason": "round 4 is kept: best KID (0.11, pixels) within the budget"}),
    ]  # fmt: skip
    for state, changes in states:
        yield state, progress_view(replace(progress, **changes), state)
    yield "waiting", progress_view(replace(progress, step=0, total=None), "waiting", 3)
    yield "charts", charts_view(progress, rounds, 0.05) + figures_view(progress, rounds)
    yield "rounds", rounds_view(rounds, 0.05)


def _audits(real: RunDir) -> Iterator[tuple[str, str]]:
    report = read_audit(real)
    assert report is not None
    rounds = read_rounds(real)
    beside = {"base": rounds[1], "plain": rounds[2]}
    yield "audit", audit_view(report, beside, "mitigated", 0.05)
    yield "earlier audit", earlier_view(audit_view(report), report.made)
    yield "no audit", audit_view(None)
    yield "at risk", at_risk_view(real.audit_of(None))


def _publishing(real: RunDir, folder: Path) -> Iterator[tuple[str, str]]:
    config = make_config(read_yaml(real.config))
    origins = Origins(None, License("mit"), Dataset(name=None, revision=None, on_hub=False), ())
    preview = folder / "preview"
    preview.mkdir()
    assemble(real, Claims(config, origins, read_audit(real), {}, ()), "ada/digits", preview)
    place = Destination("ada/digits", public=True, exists=False)
    yield "plan", plan_view(place, (), preview)
    errors = UserErrors(
        [
            UserError("hub_confirm", "the license of the base is not known",
                      "Ask its owner, or state the license as hub_license. Or confirm: license."),
            UserError("hub_model_id", "ada cannot create lab/digits", "Owners: ada, zoo."),
        ]
    )  # fmt: skip
    yield "refused plan", plan_view(place, errors)
    yield "problems", problems_view(errors, {"hub_model_id": "Repository"})
    yield "a field's problem", problem_view(errors, "hub_model_id")
    yield "card", card_view(preview)
    busy = publication(waiting="the Hub is busy; trying again in 8 s")
    yield "publishing", publication_view(busy)
    failed = publication(state="failed", reason="hub: did not answer 7 times\n  Try later.")
    yield "not published", publication_view(failed)
    url = "https://huggingface.co/ada/digits"
    facts = {"tag": "memshield-0123456789ab", "files": 7, "bytes": 12_000_000}
    done = publication(state="done", step="done", url=url, public=True, **facts)
    yield "published", publication_view(done)


def _hub() -> Iterator[tuple[str, str]]:
    yield "model", model_view(model())
    yield "gated model", model_view(model(gated=True, has_access=False, resolution=None))
    yield "dataset", dataset_view(dataset())
    words = ("a cat on a mat", "two dogs that run along a beach in the evening " * 4, None)
    shown = tuple(Shown(i, picture(i, (96, 64)), words[i % 3]) for i in range(6))
    yield "preview", preview_view(Preview(shown, ("row 6: it is broken, or no picture at all",)))
    pairs = tuple(
        DuplicatePair("near", (i, i + 9), (picture(i), picture(i)), 0.01) for i in range(3)
    )
    found = DuplicatePairs(pairs, groups=3, pictures=6, compared=12, rows=12, unreadable=())
    yield "duplicates", duplicates_view(found, "drop")
