"""From a ceiling of cost to a time limit."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from memshield.errors import UserError
from memshield.jobs.ceiling import FREE_SECONDS, ceiling_of
from memshield.jobs.remote import container


def test_a_sum_pays_for_a_time_before_whose_end_the_training_saves() -> None:
    limit = ceiling_of("a10g-small", 1.0, 5.0)
    assert limit == (5 * 3600, 5.0)
    assert limit.saves_after == 5 * 3600 - 600
    assert "After 4.8 hours the training saves" in limit.in_words()
    assert "cost $5.00" in limit.in_words()
    assert ceiling_of("a10g-small", 1.0, 0.5).saves_after == 1500  # a sixth of it to save


def test_free_hardware_has_a_time_limit_too_and_no_sum_pays_for_ever() -> None:
    assert ceiling_of("cpu-basic", 0.0, 0.01) == (FREE_SECONDS, 0.0)
    assert ceiling_of("cpu-upgrade", 0.03, 1e9).seconds == 7 * 86_400


def test_too_little_time_to_train_and_save_in_is_refused_in_words() -> None:
    with pytest.raises(UserError, match=r"\$0.24 pays for less than 15 minutes of a10g") as found:
        ceiling_of("a10g-small", 1.0, 0.24)
    assert found.value.field == "ceiling"
    assert "15 minutes cost $0.25" in found.value.remedy


def test_the_time_limit_counts_while_packages_are_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mount, code, out = tmp_path / "mount", tmp_path / "code", tmp_path / "out"
    (code / "configs").mkdir(parents=True)
    mount.mkdir()
    monkeypatch.setattr(container, "install", lambda requirements: time.sleep(0.6))
    words = ["sh", "-c", f'echo ${container.STOP_AT} > "$0"', str(out)]
    own = ["--folder", str(mount), "--code", str(code), "--mark", "m", "--every", "1"]
    begun, before = time.time(), signal.getsignal(signal.SIGTERM)
    try:
        assert container.main([*own, "--seconds", "60", "--", *words]) == 0
    finally:
        signal.signal(signal.SIGTERM, before)
    assert float(out.read_text()) - begun < 60 - container.time_to_save(60) + 0.5
