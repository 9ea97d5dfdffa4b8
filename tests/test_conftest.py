"""What a test leaves to the next one."""

from __future__ import annotations

import signal

import pytest

from memshield.training.interruption import StopRequest

_INTERRUPT = signal.getsignal(signal.SIGINT)  # a shell has its background jobs ignore it


@pytest.fixture(scope="session")
def trained() -> StopRequest:
    """As a training in this process does."""
    return StopRequest()


@pytest.fixture(scope="module")
def trained_again() -> StopRequest:
    return StopRequest()


def test_a_fixture_leaves_no_signal_handlers(
    trained: StopRequest, trained_again: StopRequest
) -> None:
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is _INTERRUPT
    StopRequest()


def test_nor_does_a_test(trained: StopRequest) -> None:
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
