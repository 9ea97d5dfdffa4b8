"""What the page says of a run on Jobs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from memshield.jobs.records import Place
from memshield.jobs.service import Jobs
from memshield.jobs.told import Told
from memshield.ui.runs.elsewhere import elsewhere_view, place_of
from memshield.ui.runs.rows import RunRows, rows_view
from tests.jobs.children import DEMO
from tests.ui.markup import text_of

TOLD = Told(
    "a10g-small", "https://hub.example/jobs/ada/1", "Training", dollars=0.254, most=5.0,
    checkpoint=40,
)  # fmt: skip


def test_machine_cost_state_and_page(jobs: Jobs) -> None:
    here = jobs.submit("ada", DEMO)
    assert elsewhere_view(jobs.view("ada", here.id)) == ""
    job = jobs.submit("ada", DEMO, place=Place("a10g-small", 600))
    TOLD.write(jobs.folders.told(job.id, job.tasks[0].number))
    view = jobs.view("ada", job.id)
    assert view.elsewhere == TOLD
    running = replace(view, training=replace(view.training, state="running"))
    said = text_of(elsewhere_view(running))
    assert "$0.25 so far, $5.00 at most for this job" in said
    assert "Hub Training" not in said  # the bar below says it
    assert 'href="https://hub.example/jobs/ada/1"' in elsewhere_view(running)
    assert place_of(view) == "a10g-small, $0.25"
    rows = RunRows(jobs).of("ada")
    assert "a10g-small, $0.25" in text_of(rows_view(rows, None))


def test_an_orphan_is_an_alarm_and_a_file_of_another_version_is_nothing(
    jobs: Jobs, tmp_path: Path
) -> None:
    job = jobs.submit("ada", DEMO, place=Place("a10g-small", 600))
    path = jobs.folders.told(job.id, job.tasks[0].number)
    replace(TOLD, words="It is billed", remedy="Stop it.", orphan=True).write(path)
    shown = elsewhere_view(jobs.view("ada", job.id))
    assert 'role="alert"' in shown
    assert "It is billed. Stop it." in text_of(shown)
    path.write_text('{"of": "tomorrow"}')
    assert jobs.view("ada", job.id).elsewhere is None
