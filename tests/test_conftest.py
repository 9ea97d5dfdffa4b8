"""What a test leaves to the next one."""

from __future__ import annotations

import signal

import pytest

from memshield.training.interruption import StopRequest


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
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    StopRequest()


def test_nor_does_a_test(trained: StopRequest) -> None:
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
