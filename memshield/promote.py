"""Which round is the run's model: a copy of its folder, with the audit that speaks for it."""

from __future__ import annotations

import shutil

from memshield.audit.report import PAGE, REPORT
from memshield.rundir import RunDir, new_folder


def promote(run: RunDir, number: int) -> None:
    """Copy a round's aggregate to model/, and its audit, if there is one, to audit/model/."""
    with new_folder(run.model) as aside:
        shutil.copytree(run.rounds / str(number), aside, dirs_exist_ok=True)
    target = run.audit_of(None)
    # An audit of the model that stood there before says nothing of this one.
    shutil.rmtree(target, ignore_errors=True)
    audited = run.audit_of(number)
    if audited.is_dir():
        with new_folder(target) as aside:
            for name in (REPORT, PAGE):
                shutil.copyfile(audited / name, aside / name)
