"""The audits that concern a run: what stands beside it, and the round to keep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from memshield.audit.report import REPORT, AuditedModel, Report
from memshield.errors import UserError
from memshield.jobs.records import LOCAL, Job
from memshield.jobs.service import Jobs
from memshield.rundir import RunDir
from memshield.runs.promote import promote
from memshield.runs.reports import BASE
from memshield.ui.runs.audit_data import BY_BUDGET, Audits, AuditSelection, round_of, shown_beside
from memshield.ui.runs.comparison import Beside
from tests.audit.reports import report_of
from tests.jobs.children import DEMO, open_jobs

PLAIN = {"num_shards": 1, "skip_threshold": 0.0}


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    return open_jobs(tmp_path / "data")


def new(jobs: Jobs, name: str = "digits", owner: str = LOCAL) -> tuple[Job, RunDir]:
    """A job with a run directory."""
    job = jobs.submit(owner, DEMO, name)
    run = jobs.folders.run(job)
    run.path.mkdir()
    return job, run


def audited(run: RunDir, round: int | None = None, excess: float = 0.01, **changes: Any) -> Report:
    """An audit of a run's model or round, in its place."""
    target = AuditedModel(
        name="run", kind="run", round=round, mitigation=changes.pop("mitigation", {})
    )
    report = report_of(excess, changes.pop("kid", 0.5), target=target, **changes)
    report.write(run.audit_of(round) / REPORT)
    return report


def with_rounds(run: RunDir, *excess: float | None) -> None:
    """Rounds, each better than the one before; those without an excess are not audited."""
    for number, one in enumerate(excess, 1):
        folder = run.rounds / str(number) / "unet"
        folder.mkdir(parents=True)
        (folder / "diffusion_pytorch_model.safetensors").write_bytes(b"x" * number)
        if one is not None:
            audited(run, number, one, kid=1 / number)


def names(audits: Audits) -> list[str]:
    return [one.name for one in audits.others]


def test_only_the_owners_runs_on_the_same_pictures_stand_beside(jobs: Jobs) -> None:
    job, run = new(jobs, owner="ada")
    audited(run)
    for owner, name, changes in (
        ("ada", "twin", {"mitigation": PLAIN}),
        ("ada", "mitigated", {"mitigation": {"num_shards": 4, "skip_threshold": 0.0}}),
        ("ada", "others", {"data": report_of(0, 0).data.model_copy(update={"fingerprint": "f"})}),
        ("ada", "larger", {"data": report_of(0, 0).data.model_copy(update={"resolution": 64})}),
        ("bob", "bobs", {}),
    ):
        audited(new(jobs, name, owner)[1], **changes)
    new(jobs, "unaudited", "ada")
    broken = new(jobs, "broken", "ada")[1]
    broken.audit_of(None).mkdir(parents=True)
    (broken.audit_of(None) / REPORT).write_text("{")
    assert names(Audits.of(jobs, "ada", job, None)) == ["mitigated", "twin, plain"]
    audited(run).write(run.path / "audit" / "base" / REPORT)
    assert names(Audits.of(jobs, "ada", job, None))[0] == "base"


def test_nothing_stands_beside_what_was_not_audited(jobs: Jobs) -> None:
    job, run = new(jobs)
    audited(new(jobs, "other")[1])
    assert names(Audits.of(jobs, LOCAL, job, None)) == []
    audited(run, 1)  # a round will do: it is of the same pictures
    assert names(Audits.of(jobs, LOCAL, job, None)) == ["other"]


def test_runs_of_one_name_are_told_apart(jobs: Jobs) -> None:
    job, run = new(jobs)
    audited(run)
    for name in ("digits", "digits", "base"):
        audited(new(jobs, name)[1])
    found = names(Audits.of(jobs, LOCAL, job, None))
    assert len(set(found)) == 3
    assert all(name.startswith(("digits (", "base (")) for name in found)


def beside(*ids: str) -> list[Beside]:
    return [Beside(id, id, report_of(0, 0)) for id in ids]


def test_what_is_shown_beside_at_first_and_later() -> None:
    others = beside(BASE, "a", "b", "c", "d", "e", "f")
    assert shown_beside(others, [], None) == [BASE, "a", "b", "c", "d", "e"]
    # What was taken away stays away, and what is new is added.
    assert shown_beside(beside(BASE, "new", "a", "b"), ["b"], [BASE, "a", "b"]) == ["new", "b"]
    assert shown_beside(beside("a"), ["gone", "a"], ["gone", "a"]) == ["a"]


def test_the_round_to_keep(jobs: Jobs) -> None:
    job, run = new(jobs)
    with_rounds(run, 0.01, 0.04, 0.3, None)
    audits = Audits.of(jobs, LOCAL, job, None)
    assert audits.keep(BY_BUDGET, "0.05")[0] == 2
    assert audits.keep(BY_BUDGET, "1")[0] == 3
    number, reason = audits.keep(BY_BUDGET, "2 %")
    assert (number, reason[:8]) == (1, "best KID")
    # Of 1 % chance may be all; of 4 % it is not.
    assert audits.keep(BY_BUDGET, "0.001")[0] == 1
    other, of_other = new(jobs)
    with_rounds(of_other, 0.04, 0.3)
    with pytest.raises(UserError) as refused:
        Audits.of(jobs, LOCAL, other, None).keep(BY_BUDGET, "0.001")
    assert (
        "the least that one gives back beyond chance is 4.0 %, of round 1" in refused.value.problem
    )
    assert "by hand" in refused.value.remedy
    # By hand anything that is there can be kept, and it is said what it is.
    assert audits.keep("3", "0.001") == (3, "chosen by hand, gives back 30 % beyond chance")
    assert audits.keep("4", "nonsense") == (4, "chosen by hand, not audited")
    for budget, words in (("", "is empty"), ("x", "not a number"), ("-1", "from 0 to 1")):
        with pytest.raises(UserError, match=words):
            audits.keep(BY_BUDGET, budget)
    odd: list[Any] = ["../x", "1.5", 2, [], {"a": 1}, True, "9" * 100, "-1"]
    for one in odd:
        with pytest.raises(UserError, match="there is no round"):
            audits.keep(one, "0.05")


def test_no_round_can_be_chosen_where_none_was_audited(jobs: Jobs) -> None:
    job, run = new(jobs)
    with_rounds(run, None, None)
    with pytest.raises(UserError, match="no round was audited") as refused:
        Audits.of(jobs, LOCAL, job, None).keep(BY_BUDGET, "0.05")
    assert "Audit all rounds first" in refused.value.remedy


def test_what_is_offered(jobs: Jobs) -> None:
    job, run = new(jobs)
    audits = Audits.of(jobs, LOCAL, job, None)
    assert audits.to_audit() == [("The model, which does not exist yet", "model")]
    with_rounds(run, 0.3, None)
    promote(run, 2)
    audits = Audits.of(jobs, LOCAL, job, None)
    assert audits.to_audit() == [
        ("The model (round 2)", "model"),
        ("Round 1, audited", "1"),
        ("Round 2, not audited yet", "2"),
        ("All rounds, to choose one of them", "all"),
    ]
    assert audits.to_keep(AuditSelection.of("model", "0.5", [])) == [
        ("By the budget: round 1", "budget"),
        ("Round 1, gives back 30 % beyond chance", "1"),
        ("Round 2, not audited", "2"),
    ]
    assert (
        audits.to_keep(AuditSelection.of("model", "0.1", []))[0][0]
        == "By the budget: none is within it"
    )
    assert audits.to_keep(AuditSelection.of("model", "", []))[0][0] == "By the budget"


def test_the_views(jobs: Jobs) -> None:
    job, run = new(jobs)
    with_rounds(run, 0.01, 0.3)
    promote(run, 2)
    other = new(jobs, "other")[0]
    audited(jobs.folders.run(other), excess=0.4)
    selection = AuditSelection.of("1", "0.05", [other.id])
    audits = Audits.of(jobs, LOCAL, job, selection.round)
    assert "round 1 of this run" in audits.audit_view(selection)
    assert "other" in audits.audit_view(selection)
    assert "other" not in audits.audit_view(AuditSelection.of("1", "0.05", ["somebody"]))
    rounds = audits.rounds_view(selection)
    assert "Round 1 would be kept" in rounds
    assert "is the model" in rounds
    wrong = audits.rounds_view(AuditSelection.of("1", "a lot", []))
    assert "is not a number" in wrong
    assert "would be kept" not in wrong
    (run.audit_of(None) / REPORT).write_text("{")
    selection = AuditSelection.of("model", "", [])
    assert "is not JSON" in Audits.of(jobs, LOCAL, job, None).audit_view(selection)


def test_the_round_that_an_input_names() -> None:
    odd: list[Any] = ["model", "all", "", None, 1, "1.0", "\u0661", "-1", "../1", [], "1" * 10]
    assert [round_of(one) for one in odd] == [None] * len(odd)
    assert round_of("12") == 12
