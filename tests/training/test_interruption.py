"""Real signals, sent to real processes."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from memshield.rundir import RunDir
from memshield.training.interruption import Stopped
from memshield.training.time_limit import REASON, STOP_AT
from tests.tiny import unet_config
from tests.trained_runs import digits, start

ROOT = Path(__file__).parents[2]
SECONDS = 30

CHILD = """
import sys, time
from memshield.training.interruption import Stopped, StopRequest

def say(word):
    print(word, flush=True)

stop = StopRequest()
try:
    {body}
except Stopped as stopped:
    say(f"stopped by {{stopped}}")
    sys.exit(128 + stopped.signal_number)
"""

PREPARING = """
    say("ready")
    time.sleep(60)
"""

# A step that ends when the parent sends a line, then a save, then the answer to a request.
TRAINING = """
    with stop.deferred():
        say("ready")
        while not stop.requested:
            time.sleep(0.01)
        say("noted")
        sys.stdin.readline()
        say("saved")
        stop.obey()
"""


class Child:
    """A process that says what it does line by line."""

    def __init__(self, body: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", CHILD.format(body=body.strip())],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.hear() == "ready"

    def hear(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def end_step(self) -> list[str]:
        """What it says until its end once the step may end."""
        return self._process.communicate("\n", timeout=SECONDS)[0].splitlines()

    def end(self) -> list[str]:
        """What it says until its end, left alone: its standard input stays open."""
        assert self._process.stdout is not None
        self._process.wait(timeout=SECONDS)
        said = self._process.stdout.read().splitlines()
        self._process.communicate()
        return said

    @property
    def code(self) -> int | None:
        return self._process.returncode


@pytest.mark.process
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_while_preparing_a_signal_ends_the_program_at_once(number: signal.Signals) -> None:
    child = Child(PREPARING)
    child.send(number)
    assert child.end() == [f"stopped by {number.name}"]
    assert child.code == 128 + number


@pytest.mark.process
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_while_training_the_step_is_ended_and_saved_first(number: signal.Signals) -> None:
    child = Child(TRAINING)
    child.send(number)
    assert child.hear() == "noted"
    assert child.end_step() == ["saved", f"stopped by {number.name}"]
    assert child.code == 128 + number


@pytest.mark.process
def test_a_second_interrupt_is_impatience() -> None:
    child = Child(TRAINING)
    child.send(signal.SIGINT)
    assert child.hear() == "noted"
    child.send(signal.SIGINT)
    assert child.end() == ["stopped by SIGINT"]


@pytest.mark.process
@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_a_termination_after_another_signal_still_lets_the_step_end(first: signal.Signals) -> None:
    child = Child(TRAINING)
    child.send(first)
    assert child.hear() == "noted"
    child.send(signal.SIGTERM)
    assert child.end_step() == ["saved", "stopped by SIGTERM"]


@pytest.mark.process
def test_after_training_a_signal_ends_the_program_at_once_again() -> None:
    child = Child(
        """
    with stop.deferred():
        stop.obey()
    say("ready")
    time.sleep(60)
"""
    )
    child.send(signal.SIGTERM)
    assert child.end() == ["stopped by SIGTERM"]


@pytest.mark.process
def test_handlers_of_ordinary_errors_do_not_swallow_a_stop() -> None:
    child = Child(
        """
    try:
        say("ready")
        time.sleep(60)
    except Exception:
        say("swallowed")
"""
    )
    child.send(signal.SIGTERM)
    assert child.end() == ["stopped by SIGTERM"]


def test_a_stop_is_named_after_its_signal() -> None:
    assert str(Stopped(signal.SIGTERM)) == "SIGTERM"
    assert not isinstance(Stopped(signal.SIGTERM), Exception)


@pytest.mark.process
def test_a_training_stops_by_itself_before_its_time_is_over(tmp_path: Path) -> None:
    unet = unet_config(tmp_path / "unet")
    settings = digits(tmp_path / "run", unet, max_train_steps=100_000, checkpointing_steps=50_000)
    child = start(settings, {STOP_AT: str(time.time() + 8)})
    said, _ = child.communicate(timeout=120)
    assert child.returncode == 143, said
    status = RunDir(tmp_path / "run").read_status()
    assert (status["state"], status["reason"]) == ("stopped", REASON)
