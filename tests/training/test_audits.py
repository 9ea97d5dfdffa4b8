from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from filelock import FileLock

from memshield.audit.auditing import audit_model
from memshield.audit.report import Report
from memshield.audit.watch_record import WatchRecord
from memshield.rundir import RunDir
from memshield.runs.promote import promote_alone
from tests.audit.runs import QUICK, command, refused, report_in, small_run
from tests.tiny import unet_config
from tests.trained_runs import digits, finish_ranks, flags, kill, start, train, weights

AUDITED: dict[str, Any] = {"audit_num_images": 40, "num_inference_steps": 3}


def test_rounds_are_audited_as_they_end(tmp_path: Path) -> None:
    run = small_run(tmp_path, audit_every_rounds=2, **AUDITED)
    events = [event for event in run.read_events() if event["type"] == "audit"]
    # The last round is a model to choose from like the others.
    assert [event["round"] for event in events] == [2, 3]
    assert events[0]["verdict"] == report_in(run.audit_of(2)).verdict
    assert run.read_status()["state"] == "done"
    assert not run.audit_of(1).exists()


def test_training_is_the_same_with_audits_and_without(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"num_rounds": 2, "max_train_steps": 8, "use_ema": True}
    audited = small_run(tmp_path / "audited", audit_every_rounds=1, **settings, **AUDITED)
    plain = small_run(tmp_path / "plain", **settings)
    ours, theirs = weights(audited), weights(plain)
    assert all(bool((ours[name] == theirs[name]).all()) for name in theirs)


def test_what_is_audited_is_what_the_round_holds(tmp_path: Path) -> None:
    """The moving average, not the weights that training goes on with."""
    run = small_run(tmp_path, audit_every_rounds=2, use_ema=True, ema_decay=0.9, **AUDITED)
    while_training = report_in(run.audit_of(2))
    (run.audit_of(2) / "images.json").unlink()
    command("audit", run.path, "--round", 2, *QUICK, "--no_attacks")
    later = report_in(run.audit_of(2))
    assert later.generated == while_training.generated
    assert later.memorization == while_training.memorization
    assert later.quality == while_training.quality


def test_an_audit_holds_what_had_been_watched_when_its_round_ended(tmp_path: Path) -> None:
    watching = {"stop_levels": True, "watch_fraction": 0.2, "watch_bins": 3, "watch_draws": 8}
    run = small_run(tmp_path, audit_every_rounds=1, **AUDITED, **watching)
    whole = WatchRecord.read(run.watch)
    assert whole is not None
    assert [check.step for check in whole.checks] == [0, 8, 16, 24]
    for number in (1, 2, 3):
        assert report_in(run.audit_of(number)).watch == whole.until(8 * number)
    assert report_in(run.audit_of(None)).watch == whole
    # The same later, when more has been seen; of a round, and of the model that is a copy of one.
    command("audit", run.path, "--round", 1, *QUICK, "--no_attacks", "--output_dir", tmp_path / "a")
    assert report_in(tmp_path / "a").watch == whole.until(8)
    promote_alone(run, 2, "it is wanted")
    command("audit", run.path, *QUICK, "--no_attacks", "--output_dir", tmp_path / "b")
    assert report_in(tmp_path / "b").watch == whole.until(16)
    assert "Held-out loss by noise level" in (tmp_path / "b" / "report.html").read_text()


def overfitted(folder: Path, **changes: Any) -> RunDir:
    """A run that learns 60 digits by heart."""
    settings = digits(
        folder / "run",
        unet_config(folder, block_out_channels=[32, 64], attention_head_dim=16),
        max_train_samples=240,
        held_out_fraction=0.75,
        num_shards=1,
        num_rounds=3,
        skip_threshold=0,
        train_batch_size=30,
        max_train_steps=1500,
        learning_rate=2e-3,
        checkpointing_steps=1000,
        use_ema=True,
        ema_decay=0.99,
        audit_num_images=100,
        num_inference_steps=20,
        **changes,
    )
    return train(**{"ddpm_beta_schedule": "squaredcos_cap_v2", **settings})


@pytest.mark.slow
def test_training_stops_at_the_budget_and_keeps_the_best_round_under_it(tmp_path: Path) -> None:
    run = overfitted(tmp_path, memorization_budget=0.05)
    events = [event for event in run.read_events() if event["type"] == "audit"]
    over = [event["round"] for event in events if event["excess"] > 0.05]
    assert over == [events[-1]["round"]]
    status = run.read_status()
    assert status["state"] == "done"
    assert "over the budget of 5.0 %" in status["reason"]
    kept = report_in(run.audit_of(None))
    assert kept.target.round is not None
    assert f"round {kept.target.round} is kept" in status["reason"]
    if kept.target.round != over[0]:
        assert kept.headline.excess is not None
        assert kept.headline.excess <= 0.05
    # The pictures at risk stand with what was drawn of them up to that round.
    table = pq.read_table(run.skips)
    draws = dict(zip(table["index"].to_pylist(), table["draws"].to_pylist(), strict=True))
    private = json.loads((run.audit_of(over[0]) / "private.json").read_text())
    assert private["at_risk"]
    assert all(one["draws"] == draws[one["index"]] for one in private["at_risk"])
    # The same command again finds it done, for the same reason.
    again = overfitted(tmp_path, memorization_budget=0.05)
    assert again.read_status()["reason"] == status["reason"]


def test_a_training_that_waits_for_another_audit_hears_a_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locks: list[FileLock] = []

    def audit_beside_another(*words: Any, **named: Any) -> Report:
        folder: Path = words[4]
        folder.mkdir(parents=True)
        locks.append(FileLock(folder / ".lock"))
        locks[0].acquire()
        os.kill(os.getpid(), signal.SIGTERM)
        return audit_model(*words, **named)

    monkeypatch.setattr("memshield.training.audits.audit_model", audit_beside_another)
    settings = audited_settings(tmp_path, audit_num_images=20, num_inference_steps=2)
    run = train(expect=128 + signal.SIGTERM, **settings)
    locks[0].release()
    assert run.read_status()["state"] == "stopped"


def test_too_few_training_pictures_are_refused_before_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = digits(tmp_path / "run", unet_config(tmp_path), memorization_budget=0.02)
    train(expect=2, **{**settings, "max_train_samples": 50})
    assert "45 training pictures are too few to audit" in capsys.readouterr().err


def test_few_held_out_pictures_cannot_hold_a_budget(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = digits(tmp_path / "run", unet_config(tmp_path), memorization_budget=0.02)
    train(expect=2, **settings)
    said = capsys.readouterr().err
    assert "memorization_budget: 6 held-out pictures are too few" in said
    assert "Raise held_out_fraction" in said


@pytest.mark.process
@pytest.mark.slow
def test_a_stop_in_the_middle_of_an_audit_loses_nothing(tmp_path: Path) -> None:
    settings = audited_settings(tmp_path, audit_num_images=1000, num_inference_steps=20)
    process = start(settings)
    run = RunDir(settings["output_dir"])
    record = run.audit_of(1) / "images.json"
    deadline = time.monotonic() + 60
    while not record.exists() or json.loads(record.read_text())["done"] == 0:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    kill(process, signal.SIGTERM)
    assert process.returncode == 128 + signal.SIGTERM
    assert run.read_status()["state"] == "stopped"
    done = json.loads(record.read_text())["done"]
    assert 0 < done < 1000
    before = (run.audit_of(1) / "images.npy").read_bytes()[: done * 64]
    train(**settings)
    assert run.read_status()["state"] == "done"
    assert (run.audit_of(1) / "images.npy").read_bytes()[: done * 64] == before
    assert report_in(run.audit_of(1)).generated.count == 1000


def test_a_plan_tells_of_audits_and_refuses_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = audited_settings(tmp_path, audit_num_images=40)
    command("plan", *flags(**settings))
    said = capsys.readouterr().out
    assert "2 while training, of 40 generated pictures each" in said
    assert "audits 5.1 kB" in said  # 2 x 40 pictures of 8 x 8 bytes
    few = {**settings, "held_out_fraction": 0.1, "memorization_budget": 0.1}
    assert "20 held-out pictures are too few" in refused(capsys, "plan", *flags(**few))


@pytest.mark.slow
@pytest.mark.process
def test_ranks_wait_while_the_first_one_audits(tmp_path: Path) -> None:
    run, _ = finish_ranks(audited_settings(tmp_path, **AUDITED))
    alone = train(**audited_settings(tmp_path / "alone", **AUDITED))
    assert run.read_status()["state"] == "done"
    ours, theirs = (report_in(one.audit_of(2)) for one in (run, alone))
    assert ours.generated == theirs.generated
    assert ours.headline.share == pytest.approx(theirs.headline.share, abs=0.05)


def audited_settings(folder: Path, **changes: Any) -> dict[str, Any]:
    """Two rounds of a few steps, each audited."""
    settings = {"max_train_samples": 200, "held_out_fraction": 0.4, "num_rounds": 2}
    return digits(
        folder / "run", unet_config(folder), audit_every_rounds=1, **{**settings, **changes}
    )
