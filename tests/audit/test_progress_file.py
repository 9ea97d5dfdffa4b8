"""How far an audit is, told to whoever looks on."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from memshield.audit.progress_file import (
    AuditProgress,
    AuditProgressFile,
    path_of,
    read_audit_progress,
)
from memshield.rundir import RunDir
from memshield.runs.progress import fingerprint, read_progress
from memshield.ui.runs.progress import phase_view
from tests.audit.runs import small_run
from tests.trained_runs import ROOT
from tests.ui.markup import text_of


def test_it_is_read_while_the_process_lives(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    assert read_audit_progress(run) is None
    file = AuditProgressFile(run)
    file("generating", 0, 300)
    found = read_audit_progress(run)
    assert found == AuditProgress("generating", 0, 300, None)
    before = fingerprint(run)
    file("generating", 1, 300)
    assert read_audit_progress(run) == found, "written once a second at most"
    file("searching for generated pictures", 120, 300)
    found = read_audit_progress(run)
    assert found is not None and (found.done, found.total) == (120, 300)
    assert fingerprint(run) != before, "a page that follows the run is told"
    assert read_progress(run).audit == found
    values = json.loads(path_of(run).read_text())
    for broken in ({**values, "done": "many"}, {"what": 1}, [1]):
        path_of(run).write_text(json.dumps(broken))
        assert read_audit_progress(run) is None
    values["process"]["start_time"] -= 1000
    path_of(run).write_text(json.dumps(values))
    assert read_audit_progress(run) is None, "its process is gone"
    file.clear()
    file.clear()
    assert not path_of(run).exists()


def test_the_time_left_is_by_what_was_made_in_this_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, now = RunDir(tmp_path), time.time()
    file = AuditProgressFile(run)

    def left(seconds: float, what: str, done: int, total: int) -> float | None:
        nonlocal now
        now += seconds
        file(what, done, total)
        found = read_audit_progress(run)
        assert found is not None
        return found.eta_s

    monkeypatch.setattr("memshield.audit.progress_file.time.time", lambda: now)
    assert left(0, "generating", 800, 1000) is None, "800 were there already"
    assert left(10, "generating", 900, 1000) == 10
    assert left(90, "generating", 1000, 1000) == 0
    assert left(600, "generating", 10, 200) is None, "another part of the same name"
    assert left(2, "generating", 20, 200) == 36
    assert left(2, "generating", 0, 200) is None, "and one of the same size"


def test_it_reads_as_a_line_and_a_bar() -> None:
    audit = AuditProgress("searching for generated pictures", 120, 300, 21.0)
    shown = phase_view(audit, "Round 4 of 6")
    assert text_of(shown) == (
        "Round 4 of 6 · looking for copies · 120 of 300, about 20 seconds left"
    )
    assert '<span role="status">Round 4 of 6 · looking for copies</span>' in shown
    assert 'aria-valuenow="120"' in shown and "width:40.00%" in shown
    none_done = AuditProgress("generating", 0, 0, None)
    assert text_of(phase_view(none_done, "Audit")) == "Audit · drawing pictures"


@pytest.mark.process
def test_an_audit_of_a_run_tells_how_far_it_is(tmp_path: Path) -> None:
    run = small_run(tmp_path)
    command = ["-m", "memshield", "audit", str(run.path), "--num_images", "2000",
               "--num_inference_steps", "20"]  # fmt: skip
    child = subprocess.Popen([sys.executable, *command], cwd=ROOT, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while (found := read_audit_progress(run)) is None or found.what != "generating":
        assert child.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    assert found.total == 2000
    child.kill()
    child.wait()
    assert read_audit_progress(run) is None
    assert child.stderr is not None
    child.stderr.close()
