"""The first screen: three ways to start, their times, and the demo's start."""

from __future__ import annotations

from dataclasses import replace

import gradio as gr
import pytest

from memshield.errors import UserError
from memshield.forecast.hardware import Gpu, Machine
from memshield.jobs.records import LOCAL
from memshield.jobs.service import Jobs
from memshield.ui.form.planning import Pace
from memshield.ui.form.recipes import recipes
from memshield.ui.new.cards import Cards
from memshield.ui.new.first_screen import times, way_view, ways
from memshield.ui.new.submission import start_demo
from tests.ui.markup import text_of
from tests.ui.runs.test_tab import server_of

CPU = Machine((), 2, 8 * 10**9)
GPU = Machine((Gpu("NVIDIA A10G", 24 * 10**9, True),), 4, 16 * 10**9)


def test_times_tell_what_they_follow_from() -> None:
    demo, own, hub = times(CPU, None)
    assert "minutes on this machine (a rough estimate)" in demo
    assert own.startswith("1,000 pictures: about")
    assert "too long on this machine: it needs a GPU" in hub
    _, own, hub = times(GPU, None)
    assert own == hub and "100 pictures: about" in hub  # a text model learns own pictures, too

    pace: Pace = lambda config, size, here: replace(here, by_runs=True)  # noqa: E731
    assert "measured on an earlier run" in times(CPU, pace)[0]


def test_own_pictures_train_what_the_machine_can() -> None:
    assert [way.kind for way in ways(CPU)] == ["demo", "scratch", "hub"]
    assert [way.kind for way in ways(GPU)] == ["demo", "hub", "hub"]
    assert [way.where for way in ways(CPU)] == ["hub", "upload", "hub"]
    said = text_of(way_view(ways(CPU)[0], "About <b>3</b> minutes"))
    assert "Try the demo" in said and "About <b>3</b> minutes" in said


def test_the_demo_starts_at_once_with_its_own_settings(jobs: Jobs) -> None:
    job = start_demo(server_of(jobs), None)
    config = jobs.config(LOCAL, job)
    wanted = recipes()["demo"].settings
    assert config.num_train_epochs == wanted["num_train_epochs"]
    assert config.timestep_bias_share == wanted["timestep_bias_share"]
    with pytest.raises(UserError, match="Sign in"):
        start_demo(server_of(jobs, sign_in=True), None)


def test_who_is_signed_out_sees_times_and_no_runs(jobs: Jobs) -> None:
    with gr.Blocks():
        cards = Cards(server_of(jobs, sign_in=True))
    assert all("this machine" in text_of(one) for one in cards.greet(None))
