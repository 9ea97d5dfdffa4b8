"""What all handlers of the page have in common."""

from __future__ import annotations

import json
from collections.abc import Iterator

import gradio as gr
import pytest
from gradio.block_function import BlockFunction
from gradio.components import Component

from memshield.errors import UserError
from memshield.forecast.hardware import Machine
from memshield.jobs.service import Jobs
from memshield.ui.form.planning import Plan
from memshield.ui.new.measurement import Measurement
from memshield.ui.page import build
from memshield.ui.server.deployment import Deployment
from memshield.ui.server.server import Server
from memshield.ui.server.visitor import Visitors
from memshield.ui.widgets.fields import Fields


@pytest.fixture(scope="module")
def handlers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[BlockFunction]]:
    data = tmp_path_factory.mktemp("data")
    jobs = Jobs(data, devices=["cpu"])
    machine = Machine((), 2, 8 * 10**9)
    page = build(Server(Deployment(False, data, None), jobs, Visitors(False), machine))
    yield [one for one in page.fns.values() if one.fn is not None]
    jobs.close()


def test_no_handler_makes_the_whole_page_slow(handlers: list[BlockFunction]) -> None:
    """The front end goes through all inputs and places of progress whenever a handler begins."""
    assert max(len(one.inputs) for one in handlers) < 10
    for one in handlers:
        places = one.show_progress_on
        assert places and all(isinstance(place, Component) for place in places), one.name
        assert len(places) < 10, one.name
        if one.show_progress == "hidden":
            assert [type(place) for place in places] == [gr.State], one.name


def test_what_is_changed_while_a_handler_answers_is_not_dropped(
    handlers: list[BlockFunction],
) -> None:
    dropping = [one for one in handlers if one.trigger_mode == "once"]
    events = {event for one in dropping for _, event in one.targets}
    assert events == {"click", "load", "submit", "tick", "upload"}
    shows = {"_look", "on_search", "on_submit", "verify", "_preview"}
    assert not shows & {one.name for one in dropping}
    (tray, _) = (one for one in handlers if "act" in {event for _, event in one.targets})
    assert (tray.trigger_mode, tray.concurrency_limit) == ("multiple", 1)


def test_a_plan_that_was_measured_is_kept(
    handlers: list[BlockFunction], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Plan({"seed": 1}, "", (), False)
    monkeypatch.setattr(
        "memshield.ui.new.plan_section.read_measurement", lambda *_: Measurement("", False, found)
    )
    (tick,) = (one for one in handlers if one.name == "_tick")
    (look,) = (one for one in handlers if one.name == "_look")
    kept = tick.outputs[-1]
    assert isinstance(kept, gr.State) and kept in look.inputs and kept in look.outputs
    answer = tick.fn(None, None, None) if tick.fn else []
    assert len(answer) == len(tick.outputs) and answer[-1] is found


def test_a_form_is_read_from_one_input() -> None:
    with gr.Blocks():
        fields = Fields("training")
        fields.add("epochs", "Epochs", lambda: gr.Number(3))
        fields.add("confirm", "Confirm", lambda: gr.CheckboxGroup(["a", "b"]))
        fields.add("model", "Model", gr.Textbox)
    unchanged = {"epochs": 3, "confirm": fields.inputs["confirm"].value, "model": None}
    assert fields.values("{}") == unchanged
    sent = json.dumps({"epochs": None, "model": ["odd"], "password": "x"})
    assert fields.values(sent) == {**unchanged, "epochs": None, "model": ["odd"]}
    long = json.dumps({"epochs": "x" * 2**20})
    odd: list[object] = [None, 7, {}, "", "[]", "null", "{", "[" * 10**6, long]
    for one in odd:
        with pytest.raises(UserError, match="Load the page anew"):
            fields.values(one)
