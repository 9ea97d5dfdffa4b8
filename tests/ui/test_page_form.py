"""The form in a real browser, beside a Hub: choosing, problems beside fields, uploads, plans."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qs, urlsplit

import datasets
import httpx2
import numpy as np
import pytest
from safetensors.numpy import save_file

from memshield.families.kinds import PIPELINES
from tests.hub_server import Fault, HubServer
from tests.ui.pages import Visit
from tests.ui.repos import PIXELS, TEXT, model, picture, pictures
from tests.ui.servers import Running, end_tasks, home_environment, serving, until

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    root = tmp_path_factory.mktemp("repos")
    with HubServer() as server:
        text = model(root / "sd", TEXT)
        server.add_repo("model", "ada/tiny-sd", text, downloads=50)
        pixels = model(root / "ddpm", PIXELS)
        # The Hub counts the weights of such a file alone.
        save_file({"some": np.ones(1500, np.float32)}, pixels / "model.safetensors")
        server.add_repo("model", "ada/tiny-ddpm", pixels, downloads=20)
        server.add_repo("model", "lab/gated-sd", text, gated=True, downloads=10)
        chroma = {**PIXELS, "model_index.json": {"_class_name": "ChromaPipeline"}}
        server.add_repo("model", "ada/chroma", model(root / "chroma", chroma))
        server.add_repo("dataset", "ada/table", table(root / "table"), downloads=9)
        captioned = pictures(root / "captioned", range(40), captions=True, size=64)
        server.add_repo("dataset", "ada/captioned", captioned, downloads=5)
        server.add_repo("dataset", "lab/gated", captioned, gated=True)
        words = root / "words"
        words.mkdir()
        rows = datasets.Dataset.from_dict({"text": ["no pictures"], "number": [1]})
        rows.to_parquet(words / "train.parquet")
        server.add_repo("dataset", "ada/words", words)
        yield server


def table(folder: Path) -> Path:
    """A parquet file of two columns of pictures and two of captions, in two splits."""
    features = datasets.Features(
        {
            "photo": datasets.Image(),
            "mask": datasets.Image(),
            "text": datasets.Value("string"),
            "title": datasets.Value("string"),
        }
    )
    for split, count in (("train", 40), ("test", 6)):
        rows = {
            "photo": [picture(i, 64) for i in range(count)],
            "mask": [picture(100 + i, 64) for i in range(count)],
            "text": [f"a picture, number {i}" for i in range(count)],
            "title": [f"title {i}" for i in range(count)],
        }
        place = folder / "data" / f"{split}-00000-of-00001.parquet"
        place.parent.mkdir(parents=True, exist_ok=True)
        datasets.Dataset.from_dict(rows, features=features).to_parquet(place)
    card = "---\nlicense: mit\ntags: [modality:image]\nsize_categories: n<1K\n---\n"
    (folder / "README.md").write_text(card)
    return folder


@pytest.fixture(scope="module")
def home(hub: HubServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("home")
    with serving(folder, home_environment(folder, hub.endpoint)) as running:
        yield running
    end_tasks(folder / "data")


@pytest.fixture
def visit(browser: Browser, home: Running) -> Iterator[Visit]:
    made = Visit(browser, home.url)
    yield made
    assert made.problems == []
    made.close()


def choose(visit: Visit, what: str) -> None:
    visit.page.get_by_label(what, exact=True).check()


@pytest.mark.slow
def test_a_model_and_a_dataset_are_found_and_looked_at(visit: Visit) -> None:
    page = visit.page
    choose(visit, "A model from the Hub")
    visit.sees("Search for a model below")
    page.locator("#model").get_by_role("textbox").fill("tiny")
    visit.press("Search models")
    page.get_by_label("ada/tiny-ddpm").check()
    visit.sees("DDPMPipeline", "#about-model")
    # The settings follow from the model.
    visit.sees("Pixel model, fine-tuned", "#about-kind")
    until(lambda: visit.value("Epochs") == "20")
    assert visit.page.get_by_label("Recommended", exact=True).is_checked()
    page.get_by_label("ada/tiny-sd").check()
    visit.sees("StableDiffusionPipeline", "#about-model")
    until(lambda: visit.value("Epochs") == "30")

    page.locator("#dataset").get_by_role("textbox").fill("table")
    visit.press("Search datasets")
    page.get_by_label("ada/table").check()
    visit.sees("40 rows", "#about-dataset")
    visit.sees("a picture, number 3", "#first-pictures")
    assert visit.value("Split") == "train"
    assert visit.value("Column of captions") == "text"
    assert not page.get_by_label("Configuration", exact=True).is_visible()
    page.get_by_label("Column of captions", exact=True).click()
    page.get_by_role("option", name="title").click()
    visit.sees("title 3", "#first-pictures")
    visit.shoot("form-chosen")
    visit.press("See what will happen")
    visit.sees("pictures to train on", "#plan")
    visit.sees("a10g-small", "#plan")
    visit.shoot("form-estimate")


def searches(hub: HubServer, what: str) -> list[str]:
    """What the Hub was asked to search for."""
    asked = [urlsplit(one.path) for one in hub.requests]
    return [
        words
        for one in asked
        if one.path == f"/api/{what}"
        for words in parse_qs(one.query).get("search", [])
    ]


@pytest.mark.slow
def test_the_hub_is_searched_as_one_types(visit: Visit, hub: HubServer) -> None:
    page = visit.page
    choose(visit, "A model from the Hub")
    box = page.locator("#model").get_by_role("textbox")
    before = searches(hub, "models")
    box.press_sequentially("tiny", delay=60)
    visit.sees("ada/tiny-ddpm · without prompts · 1.5 k weights · mit")
    # On a busy machine these are of a text on the way, and the whole one is still to be looked up.
    until(lambda: "tiny" in searches(hub, "models")[len(before) :])
    # Nothing is told of it yet, and what is typed stays as it is.
    assert visit.value("Model") == "tiny"
    box.press_sequentially("-sd", delay=60)
    page.get_by_label("ada/tiny-ddpm").wait_for(state="hidden")
    page.get_by_label("ada/tiny-sd").wait_for()
    visit.shoot("form-typed")
    # A list a class of models for each text, and not for each letter: a slow one may come between.
    asked = searches(hub, "models")[len(before) :]
    assert {"tiny", "tiny-sd"} <= set(asked)
    assert len(set(asked)) <= 4
    assert len(asked) == len(set(asked)) * len(PIPELINES)
    page.get_by_label("ada/tiny-sd").check()
    visit.sees("StableDiffusionPipeline", "#about-model")
    assert visit.value("Model") == "ada/tiny-sd"
    page.wait_for_timeout(1500)
    assert page.get_by_role("radio", name="ada/tiny-sd").is_checked()
    for _ in range(9):
        box.press("Backspace", delay=60)
    page.get_by_role("radio", name="ada/tiny-sd").wait_for(state="hidden")
    # What was typed as an id is looked at when the box is left, and its problem stays.
    box.press("Control+a")
    box.press_sequentially("none/at-all", delay=60)
    box.press("Tab")
    visit.sees("is not on the Hub or not readable", "#problem-model")
    page.wait_for_timeout(1500)
    visit.sees("is not on the Hub or not readable", "#problem-model")

    # The Hub is away: nothing is said of it before somebody asks.
    box = page.locator("#dataset").get_by_role("textbox")
    hub.fail(Fault("answer", path="/api/datasets?", status=400, times=99))
    before = searches(hub, "datasets")
    box.press_sequentially("table")
    until(lambda: len(searches(hub, "datasets")) > len(before))
    page.wait_for_timeout(500)
    assert visit.text("#problem-dataset").strip() == ""
    visit.press("Search datasets")
    page.locator("#problem-dataset .ms-alarm").wait_for()
    hub.clear_faults()
    box.press_sequentially("x", delay=60)
    visit.sees("No datasets found")
    visit.shoot("form-typed-nothing")
    box.press("Backspace")
    page.get_by_label("ada/table").wait_for()


_TYPED_AND_PRESSED = """
() => {
  const input = document.querySelector("#field-resolution :is(input, textarea)");
  input.value = "large";
  input.dispatchEvent(new Event("input", { bubbles: true }));
  [...document.querySelectorAll("#start-bar button")].at(-1).click();
}
"""


def test_problems_stand_beside_their_fields(visit: Visit) -> None:
    page = visit.page
    choose(visit, "A model from the Hub")
    # Early: what is typed is looked at when the box is left.
    for bad, words in (
        ("ada/none", "is not on the Hub or not readable"),
        ("lab/gated-sd", "Accept its conditions on"),
        ("ada/chroma", "ChromaPipeline, which is not supported"),
        ("ada/table", "is a dataset, not a model"),
    ):
        visit.fill("Model", bad)
        visit.sees(words, "#problem-model")
    link = page.locator("#problem-model a")
    visit.fill("Model", "lab/gated-sd")
    until(lambda: link.count() == 1)
    assert str(link.get_attribute("href")).endswith("/lab/gated-sd")
    for bad, words in (
        ("ada/none", "is not on the Hub or not readable"),
        ("ada/words", "holds no pictures"),
        ("lab/gated", "Accept its conditions on"),
    ):
        visit.fill("Dataset", bad)
        visit.sees(words, "#problem-dataset")

    def is_told() -> bool:
        """As soon as the field is left, which a busy browser may do before gradio has its text."""
        visit.fill("Epochs", "0")
        page.wait_for_timeout(2000)
        return page.locator("#problem-epochs").get_by_text("must be at least 1").is_visible()

    until(is_told)
    visit.fill("Rounds", "")
    visit.press("Start training")
    visit.sees("4 things to fix", "#problems")
    visit.sees("must be at least 1", "#problem-epochs")
    visit.sees("is empty", "#problem-rounds")
    # Wherever in the form one is.
    page.locator("#field-kind").scroll_into_view_if_needed()
    box, window = page.locator("#problems").bounding_box(), page.viewport_size
    assert box and window and box["height"] > 0
    assert box["y"] >= 0 and box["y"] + box["height"] <= window["height"]
    epochs = page.locator("#field-epochs input")
    assert epochs.get_attribute("aria-invalid") == "true"
    assert epochs.get_attribute("aria-describedby") == "problem-epochs"
    visit.shoot("form-problems")
    page.locator("#problems").get_by_role("link", name="Epochs").click()
    assert page.evaluate("document.activeElement.closest('#field-epochs') !== null")
    # It goes when its field is changed.
    epochs.fill("3")
    page.locator("#problem-epochs .ms-alarm").wait_for(state="hidden")
    until(lambda: epochs.get_attribute("aria-invalid") is None)
    visit.sees("3 things to fix", "#problems")
    assert page.locator("#problems").get_by_role("link", name="Epochs").count() == 0
    # What is typed counts, however soon the button is pressed.
    page.evaluate(_TYPED_AND_PRESSED)
    visit.sees("is not a number", "#problem-resolution")
    # Those of other settings open their place.
    visit.open_advanced()
    visit.fill("learning rate", "a lot")
    page.get_by_role("button", name="All other settings").click()
    visit.press("See what will happen")
    visit.sees("a lot", "#problem-learning_rate")
    visit.shoot("form-advanced")


@pytest.mark.slow
def test_a_folder_of_this_computer(visit: Visit, tmp_path: Path) -> None:
    choose(visit, "A new small model, from scratch")
    choose(visit, "A folder on this computer")
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "a.txt").write_text("no picture")
    for bad, words in (
        (tmp_path / "none", "does not exist"),
        (tmp_path / "words" / "a.txt", "is a file"),
        (tmp_path / "words", "there are no pictures"),
    ):
        visit.fill("Folder on this computer", str(bad))
        visit.sees(words, "#problem-folder")
    folder = pictures(tmp_path / "set", [*range(20), 3], captions=True, size=64)
    visit.fill("Folder on this computer", str(folder))
    visit.sees("21 pictures, captions from 'text'", "#foldered")
    visit.sees("1 pair of training pictures", "#folder-pairs")


@pytest.mark.slow
def test_a_training_is_measured_before_it_is_started(visit: Visit, home: Running) -> None:
    visit.fill("Memorization budget", "")
    visit.open_advanced()
    visit.fill("num inference steps", "2")
    visit.press("See what will happen")
    visit.sees("a rough estimate", "#plan")
    visit.press("Measure on this machine")
    visit.sees("Measuring:", "#measuring")
    visit.page.get_by_role("button", name="Stop measuring").wait_for()
    visit.shoot("form-measuring")
    visit.sees("were measured on this machine", "#plan")
    visit.page.get_by_role("button", name="Stop measuring").wait_for(state="hidden")
    assert not visit.text("#measuring").strip()
    assert home.runs() == []
    visit.shoot("form-measured")
    # What was measured is not taken for what the form has become.
    visit.press("Measure on this machine")
    visit.sees("Measuring:", "#measuring")
    visit.fill("Epochs", "20")
    visit.press("See what will happen")
    visit.sees("The form has changed since", "#measuring")
    visit.sees("a rough estimate", "#plan")
    # A page that is opened anew knows of it, and can stop it.
    visit.press("Measure on this machine")
    visit.sees("Measuring:", "#measuring")
    visit.go()
    visit.sees("Measuring:", "#measuring")
    visit.press("Stop measuring")
    visit.sees("Measuring: stopped", "#measuring")
    visit.page.get_by_role("button", name="Measure on this machine").wait_for()


@pytest.mark.slow
def test_the_form_fits_a_phone(visit: Visit) -> None:
    page = visit.page
    page.set_viewport_size({"width": 390, "height": 844})
    choose(visit, "A model from the Hub")
    visit.fill("Model", "ada/tiny-sd")
    visit.sees("StableDiffusionPipeline", "#about-model")
    visit.fill("Dataset", "ada/table")
    visit.sees("a picture, number 3", "#first-pictures")
    visit.press("See what will happen")
    visit.sees("a10g-small", "#plan")
    visit.fill("Epochs", "0")
    visit.sees("must be at least 1", "#problem-epochs")
    both: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    for colours in both:
        page.emulate_media(color_scheme=colours)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        visit.shoot(f"form-phone-{colours}")


def of_tab(config: dict[str, Any], name: str) -> set[int]:
    """Ids of everything that is laid out in a tab."""
    props = {one["id"]: one["props"] for one in config["components"]}

    def ids(node: dict[str, Any]) -> set[int]:
        return {node["id"]}.union(*map(ids, node.get("children") or []))

    def found(node: dict[str, Any]) -> set[int]:
        if props.get(node["id"], {}).get("id") == name:
            return ids(node)
        return set().union(*map(found, node.get("children") or []))

    return found(config["layout"])


def test_no_handler_fails_on_what_a_script_sends(home: Running) -> None:
    config = httpx2.get(f"{home.url}/config").json()
    tab = of_tab(config, "train")
    states = {one["id"] for one in config["components"] if one["type"] == "state"}
    # Files are gradio's own to refuse, before any handler is asked.
    tab -= {one["id"] for one in config["components"] if one["type"] == "file"}
    before, asked = len(home.said), 0
    # One client: each has its certificates to read.
    with httpx2.Client(base_url=f"{home.url}/gradio_api/", timeout=60) as script:
        for handler in config["dependencies"]:
            inputs = handler["inputs"]
            named = set(inputs) - states
            if not handler["backend_fn"] or not named or not set(inputs) <= tab | states:
                continue
            for odd in (None, {"a": [1]}, ["x", 2], "\0", -1, True):
                data = [None if one in states else odd for one in inputs]
                body = {"fn_index": handler["id"], "data": data, "session_hash": "odd"}
                answer = script.post("run/predict", json=body)
                assert answer.status_code in (200, 422), (handler["targets"], odd)
                asked += 1
    assert asked > 80
    assert "Traceback" not in home.said[before:], home.said[before:][-3000:]
