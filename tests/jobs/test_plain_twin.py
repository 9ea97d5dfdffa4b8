"""The plain twin of a run that watches pictures: it does nothing, and trains on the same ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from memshield.config.file import make_config
from memshield.config.mitigation import is_plain
from memshield.data.examples import Examples
from memshield.data.scan import scan
from memshield.data.source import SourceSettings, open_source
from memshield.errors import UserError
from memshield.jobs.settings import plain_values
from tests.tiny import unet_config
from tests.trained_runs import digits, train


def test_it_leaves_out_what_the_mitigated_run_watches(tmp_path: Path) -> None:
    settings = digits(
        tmp_path / "run", unet_config(tmp_path), max_train_samples=120, num_shards=1,
        stop_levels=True, watch_checks=1, watch_draws=8, timestep_bias_share=0.1,
        augment_probability=0.1, loss_bank_reference="held_out",
    )  # fmt: skip
    run = train(**settings)
    config = make_config(plain_values(run, run.config))
    assert is_plain(config.model_dump())
    assert not config.watches
    trained = Examples.read(run.examples)
    twin = scan(config, open_source(SourceSettings.of(config))).examples
    assert len(trained.watched()) == 20
    assert np.array_equal(twin.members(), trained.members())
    assert np.array_equal(twin.held_out(), trained.held_out())


def test_a_plain_run_has_none(tmp_path: Path) -> None:
    run = train(**digits(tmp_path / "run", unet_config(tmp_path), num_shards=1, skip_threshold=0))
    with pytest.raises(UserError, match="plain training itself"):
        plain_values(run, run.config)
