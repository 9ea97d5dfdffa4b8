"""The form without a browser: whatever is sent is answered in words, beside a field."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from memshield.errors import UserError
from memshield.forecast.cost import ModelSize
from memshield.forecast.hardware import Machine
from memshield.forecast.prices import HubPrices
from memshield.jobs.service import Jobs
from memshield.ui.form.advanced import advanced_fields
from memshield.ui.form.choices import Choices
from memshield.ui.form.planning import forecast
from memshield.ui.form.recipes import RecipeName, recipes
from memshield.ui.new.forecast_view import forecast_view
from memshield.ui.new.measurement import read_measurement, start_measurement, stop_measurement
from memshield.ui.new.model import inspect_model
from memshield.ui.new.recipe_choice import (
    BASIC,
    about,
    change_defaults,
    defaults,
    recipe_of,
    strength_info,
)
from memshield.ui.new.settings import advanced_settings, basic_settings
from memshield.ui.new.submission import CheckedForm, check_form, submit_form
from memshield.ui.server.deployment import Deployment
from memshield.ui.server.server import Server
from memshield.ui.server.visitor import Visitors
from memshield.ui.widgets.fields import Fields
from tests.hub_server import HubServer
from tests.hub_server.in_process import connect
from tests.ui.markup import text_of
from tests.ui.repos import PIXELS, TEXT, model, pictures

MACHINE = Machine((), 2, 8 * 10**9)
SCRATCH = {"kind": "scratch", "where": "folder"}
ODD: list[Any] = [
    None, "", " ", "x" * 600, "\0", "../../etc/passwd", "🙂", True, -1, 0, 1.5, 1e300,
    float("nan"), float("inf"), [], ["a", 1], {}, {"a": [1]}, [[]], 10**400,
]  # fmt: skip


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """At home; no Hub can be asked."""
    made = at(tmp_path, on_space=False)
    yield made
    made.jobs.close()


def at(folder: Path, on_space: bool) -> Server:
    jobs = Jobs(folder / "data", devices=["cpu"])
    visitors = Visitors(on_space, name_of=lambda token: token.removeprefix("hf_"))
    return Server(Deployment(on_space, folder / "data", None), jobs, visitors, MACHINE)


def token_of(name: str) -> gr.OAuthToken:
    return gr.OAuthToken(token=f"hf_{name}", scope="", expires_at=0)


def values(**changes: Any) -> dict[str, Any]:
    """What the form of the demo sends."""
    return {"kind": "demo", "where": "hub", **dict(zip(BASIC, defaults("demo"), strict=True)),
            **changes}  # fmt: skip


def wrong(found: CheckedForm) -> dict[str, str]:
    return {error.field: f"{error.problem} {error.remedy}" for error in found.errors}


def demo(server: Server, **changes: Any) -> CheckedForm:
    return check_form(server, values(**changes), "demo", "", None)


def test_the_demo_asks_nobody(server: Server) -> None:
    found = demo(server)
    assert found.errors == () and found.plan is not None
    said = text_of(forecast_view(found.plan))
    assert "pictures to train on" in said and "2 CPU cores" in said
    assert "Hub's hardware" not in said


@pytest.mark.parametrize(
    "given", [{"where": "folder", "folder": "/nowhere/x"}, {"where": "upload"}]
)
def test_what_is_out_of_sight_does_not_keep_the_demo_from_starting(
    server: Server, given: dict[str, Any]
) -> None:
    found = check_form(server, values(**given), "demo", "gone", None)
    assert found.errors == ()


@pytest.mark.parametrize(
    ("kind", "recipe", "wanted"),
    [
        ("scratch", "pixels", "pixels_from_scratch"), ("scratch", "demo", "pixels_from_scratch"),
        ("hub", "pixels_from_scratch", "sd_lora"), ("hub", "demo", "sd_lora"),
        ("demo", "pixels", "demo"),
    ],
)  # fmt: skip
def test_settings_of_another_kind_of_training_are_changed_and_told(
    server: Server, kind: str, recipe: RecipeName, wanted: str
) -> None:
    found = check_form(server, values(kind=kind, model="ada/pixels"), recipe, "", None)
    assert "another kind of training" in wrong(found)["kind"]
    assert found.recipe == wanted


def test_nonsense_in_every_advanced_setting_is_told_beside_it(server: Server) -> None:
    fields = advanced_fields(recipes()["demo"])
    assert len(fields) > 50
    for field in fields:
        sent: Any = {"x": 1} if field.kind in ("text", "list") else "a lot"
        assert field.name in wrong(demo(server, **{field.name: sent})), field
    # All at once as well, and the others are still looked at.
    everything = {
        field.name: {"x": 1} if field.kind in ("text", "list") else "a lot" for field in fields
    }
    told = wrong(demo(server, **everything, epochs=0))
    assert set(told) >= {"epochs", *everything}


def test_numbers_that_are_none(server: Server) -> None:
    for name in ("epochs", "rounds", "shards", "strength"):
        assert wrong(demo(server, **{name: None}))[name] == "is empty Give a number."
    found = demo(server, budget=None, resolution="")
    assert found.errors == () and found.plan is not None
    assert "memorization_budget" not in found.plan.values
    assert "must be at least 1" in wrong(demo(server, epochs=0))["epochs"]
    assert "is not a number" in wrong(demo(server, resolution="large"))["resolution"]
    assert "epochs" in wrong(demo(server, epochs=1.5))
    assert "strength" in wrong(demo(server, strength=-0.1))


@pytest.mark.slow
def test_whatever_a_script_sends_is_answered_in_words(server: Server) -> None:
    names = ("kind", "where", *BASIC, "resolution", "hub_model_id", "confirm", "model", "dataset",
             "dataset_config", "split", "image_column", "caption_column", "label_column",
             "folder")  # fmt: skip
    known = {*names, "sign_in", *(field.name for field in advanced_fields(recipes()["demo"]))}
    hub = values(kind="hub", model="a/b", dataset="a/b")
    chosen = [name for name in names if name not in ("where", *BASIC, "folder")]
    for start, sent in ((values(), names), (hub, chosen), (values(**SCRATCH), ("folder", "where"))):
        recipe = recipe_of(start["kind"])
        for name in sent:
            for odd in ODD:
                found = check_form(server, {**start, name: odd}, recipe, "", None)
                assert set(wrong(found)) <= known, (name, odd, wrong(found))


def test_a_whole_number_of_hundreds_of_digits_is_no_setting(server: Server) -> None:
    for field in advanced_fields(recipes()["demo"]):
        if field.kind == "int":
            assert field.name in wrong(demo(server, **{field.name: "1" + "0" * 400})), field.name
    kept = change_defaults((10**400,) * len(BASIC), "demo", "sd_lora")
    assert kept == list(defaults("sd_lora"))


def test_folders_of_this_computer_are_for_the_home(server: Server, tmp_path: Path) -> None:
    folder = pictures(tmp_path / "set", range(40))
    sent = values(**SCRATCH, folder=str(folder), budget=None)
    found = check_form(server, sent, "pixels_from_scratch", "", None)
    assert found.errors == () and found.plan is not None and found.plan.counted is not None
    assert found.plan.values["train_data_dir"] == str(folder)
    assert found.plan.lost == 0, "they are square"
    assert [one.hardware.split()[0] for one in found.plan.elsewhere] == [
        "t4-small", "l4x1", "a10g-small", "a100-large"
    ]  # fmt: skip
    (tmp_path / "words").mkdir()
    (tmp_path / "words/a.txt").write_text("x")
    for path, words in (
        (tmp_path / "none", "does not exist"), (tmp_path / "words/a.txt", "is a file"),
        (tmp_path / "words", "there are no pictures"), ("", "is empty"),
        ("~nobodyatall/x", "does not exist"),
    ):  # fmt: skip
        sent = values(**SCRATCH, folder=str(path))
        assert words in wrong(check_form(server, sent, "pixels_from_scratch", "", None))["folder"]
    space = at(tmp_path / "space", on_space=True)
    sent = values(**SCRATCH, folder=str(folder), budget=None)
    refused = check_form(space, sent, "pixels_from_scratch", "", token_of("ada"))
    assert "cannot be 'folder'" in wrong(refused)["where"]
    assert refused.plan is not None and "train_data_dir" not in refused.plan.values
    # Nor is it told whether there is such a folder.
    sent["folder"] = str(tmp_path / "none")
    missing = check_form(space, sent, "pixels_from_scratch", "", token_of("ada"))
    assert wrong(missing) == wrong(refused)
    space.jobs.close()


def test_pictures_that_are_still_missing(server: Server) -> None:
    for where, words in (("upload", "no pictures yet"), ("folder", "is empty")):
        sent = values(kind="scratch", where=where)
        told = wrong(check_form(server, sent, "pixels_from_scratch", "", None))
        assert words in told[where] and "dataset" not in told
    told = wrong(check_form(server, values(kind="hub"), "sd_lora", "", None))
    assert set(told) == {"model", "dataset"}


def test_settings_follow_the_model_and_leave_what_was_set() -> None:
    assert recipe_of("hub") == "sd_lora"
    assert recipe_of("hub", "stable_diffusion_xl") == "sdxl_lora"
    assert recipe_of(["odd"]) == "demo"
    strength, epochs, *others = defaults("sd_lora")
    new = change_defaults([strength, 3, *others], "sd_lora", "pixels")
    assert (new[0], new[1]) == (0.5, 3), "what a person set stays"
    assert change_defaults([strength, epochs, *others], "sd_lora", "pixels")[1] == 20
    assert "Recommended: 0.5. 0 is plain training" in strength_info()
    assert "its kind determines the settings" in about("hub", "sd_lora", False)
    assert "Stable Diffusion XL, LoRA" in about("hub", "sdxl_lora", True)


def test_every_input_has_a_place_for_its_problems() -> None:
    with gr.Blocks():
        fields = Fields("training")
        basic_settings(fields, "demo", gr.State("demo"))
        advanced_settings(fields, "demo")
    assert set(fields.slots) == set(fields.inputs) == set(fields.labels)
    assert set(fields.inputs) > {field.name for field in advanced_fields(recipes()["demo"])}


def test_a_model_that_nobody_looked_at_brings_its_settings(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with HubServer() as hub:
        hub.add_repo("model", "ada/ddpm", model(tmp_path / "ddpm", PIXELS))
        hub.add_repo("model", "ada/sd", model(tmp_path / "sd", TEXT))
        connect(monkeypatch, hub.endpoint)
        sent = values(kind="hub", model="ada/ddpm")
        found = check_form(server, sent, "sd_lora", "", None)
        assert "press again" in wrong(found)["model"]
        again = check_form(server, sent, found.recipe, "", None)
        assert found.recipe == "pixels" and set(wrong(again)) == {"dataset"}
        about, problem, seen, recipe = inspect_model("ada/sd", "scratch", None)
        assert "StableDiffusionPipeline" in about and (seen, recipe) == ("", "pixels_from_scratch")
        assert "without prompts" in problem
        assert inspect_model("ada/sd", "hub", None)[1:] == ["", "ada/sd", "sd_lora"]


def test_prices_are_asked_for_where_they_matter(server: Server) -> None:
    asked = []

    def ask() -> dict[str, float]:
        asked.append(1)
        return {"t4-small": 0.4}

    at_home = replace(server, prices=HubPrices(ask))
    found = demo(at_home)
    assert found.plan is not None and found.plan.here is not None
    assert (found.plan.here.dollars, asked) == (None, [])
    on_space = replace(at_home, flavour="t4-small")
    found = demo(on_space)
    assert found.plan is not None and found.plan.here is not None
    assert found.plan.here.dollars is not None and asked == [1]
    assert "price" in text_of(forecast_view(found.plan))


def test_measuring_is_queued_followed_and_stopped(server: Server) -> None:
    made = demo(server).plan
    assert made is not None and made.here is not None
    assert not read_measurement(server, made, made, None).busy
    start_measurement(server, made, None)
    how = read_measurement(server, made, made, None)
    assert how.busy and "Measuring: waiting" in text_of(how.html)
    with pytest.raises(UserError, match="one of yours waits already"):
        start_measurement(server, made, None)
    stop_measurement(server, None)
    how = read_measurement(server, made, made, None)
    assert not how.busy and how.plan is None and "taken out" in text_of(how.html)
    assert server.jobs.list("") == []
    said = (
        '{"measured": {"total_s": 100, "samples_s": 1, "peak_bytes": 1e9, "device": "CPU"}, '
        '"cut_captions": {"words": "2 of 9 captions are longer than 77 tokens"}}'
    )
    measured = made.with_measurement(said, 10**10)
    assert measured.here is not None and measured.here.measured
    assert "were measured on this machine" in text_of(forecast_view(measured))
    assert "2 of 9 captions are longer than 77 tokens" in text_of(forecast_view(measured))
    with pytest.raises(UserError, match="Measure again"):
        made.with_measurement("", None)
    again = made.with_measurement_of(measured)
    assert again == measured, "the same settings were measured"
    assert replace(made, values={}).with_measurement_of(measured).here == made.here
    assert made.with_measurement_of(made) == made == made.with_measurement_of(None)


def test_pictures_that_lose_much_in_squares_are_told(tmp_path: Path) -> None:
    choices = Choices(recipe="sd_lora", model="lab/sd", folder=tmp_path)
    size = ModelSize("stable_diffusion", 860_000_000, 512)
    made = forecast(choices, MACHINE, 100, size=size)
    words = "lose 33% of their area or more when they are cut to squares"
    assert words not in text_of(forecast_view(made))
    shown = text_of(forecast_view(replace(made, lost=1 / 3)))
    assert words in shown and "aspect ratio buckets: auto" in shown and "ratio_" not in shown
    said = (
        '{"measured": {"total_s": 100, "samples_s": 1, "peak_bytes": 1e9, "device": "CPU"}, '
        '"lost_to_squares": 0.3333}'
    )
    assert words in text_of(forecast_view(made.with_measurement(said, 10**10)))


def test_jobs_are_refused_beside_the_field_that_mends_it(tmp_path: Path) -> None:
    server = at(tmp_path, on_space=True)
    server.jobs.places.prices = HubPrices(lambda: {"t4-small": 0.4, "cpu-basic": 0.0})
    unable = gr.OAuthToken(token="hf_bob", scope="openid", expires_at=0)
    able = gr.OAuthToken(token="hf_ada", scope="openid jobs", expires_at=0)
    sent = {**values(), "place": "jobs", "hardware": "t4-small", "ceiling": "0.005"}

    def fields(token: gr.OAuthToken, **changes: Any) -> list[str]:
        checked = check_form(server, {**sent, **changes}, "demo", "", token)
        assert all(error.remedy for error in checked.errors)
        return [error.field for error in checked.errors]

    assert fields(able) == ["ceiling"]
    assert fields(able, hardware="h100") == ["hardware"]
    assert fields(unable, ceiling="5") == ["place"]
    assert fields(able, ceiling="5") == []
    checked = check_form(server, {**sent, "ceiling": "5"}, "demo", "", able)
    assert checked.there is not None
    assert checked.there.limit.seconds == 5 / 0.4 * 3600
    assert checked.plan is not None
    assert checked.plan.here is not None
    assert checked.plan.here.hardware == "t4-small"
    job = server.jobs.get("ada", submit_form(server, checked, able))
    place = job.tasks[0].work.place
    assert place is not None
    assert (place.hardware, place.seconds) == ("t4-small", 45_000)
    server.jobs.places.prices = HubPrices(dict)
    assert fields(able) == ["hardware"]
    server.jobs.close()
