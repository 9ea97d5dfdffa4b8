"""The page on a Space, in the browsers of people who sign in on the Hub's own page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import huggingface_hub
import pytest

from memshield.hub.pull import pull
from tests.hub.conftest import BOBS, CARD, TOKEN, fill
from tests.hub_server import HubServer
from tests.hub_server.in_process import connect
from tests.tiny import image_folder, sd_pipeline
from tests.ui.axe import violations
from tests.ui.pages import Visit
from tests.ui.repos import pictures
from tests.ui.servers import Running, end_tasks, serving, space_environment, until
from tests.ui.test_page import LONG, tiny
from tests.ui.test_space import OPERATORS

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    folder = tmp_path_factory.mktemp("hub")
    base = sd_pipeline(folder / "sd")
    (base / "README.md").write_text(CARD.format(license="mit"))
    captions = [f"a very secret caption number {i}" for i in range(200)]
    pictures = image_folder(folder / "set", 200, captions=captions)
    # The Hub itself says so of every set in which it finds pictures.
    (pictures / "README.md").write_text("---\nlicense: mit\ntags: [modality:image]\n---\n")
    with HubServer() as server:
        fill(server, base, pictures)
        server.add_user("operator", OPERATORS)
        server.add_oauth_client("app", "of-the-app")
        yield server


@pytest.fixture(scope="module")
def space(hub: HubServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("space")
    with serving(folder, space_environment(folder, hub, OPERATORS)) as running:
        yield running
        end_tasks(running.data)


@pytest.mark.slow
@pytest.mark.browser
def test_two_people_in_their_own_browsers(browser: Browser, space: Running, hub: HubServer) -> None:
    ada = Visit(browser, space.url, hub.endpoint)
    ada.press("Start training")
    ada.sees("Sign in", "#problems")
    ada.sign_in("ada")
    ada.page.get_by_label("This machine").check()
    tiny(ada, LONG)
    ada.press("Start training")
    ada.sees("Training", "#state")
    until(lambda: space.state() == "running")

    bob = Visit(browser, space.url, hub.endpoint)
    bob.tab("Runs")
    bob.sees("Sign in to see your runs", "#state")
    bob.sign_in("bob")
    bob.tab("Runs")
    bob.sees("No runs yet", "#state")
    assert "digits" not in bob.text("body")

    # Signed out, she does not see it either, in no tab of hers; and it goes on.
    ada.page.evaluate("localStorage.removeItem('memshield-visitor')")
    other = ada.page.context.new_page()
    other.goto(space.url)
    other.wait_for_function("localStorage.getItem('memshield-visitor') === 'ada'")
    ada.sign_out("ada")
    other.get_by_role("button", name="Sign in with Hugging Face").wait_for()
    other.get_by_role("tab", name="Runs", exact=True).click()
    other.get_by_text("Sign in to see your runs").wait_for()
    other.close()
    ada.tab("Runs")
    ada.sees("Sign in to see your runs", "#state")
    assert space.state() == "running"
    ada.sign_in("ada")
    ada.tab("Runs")
    ada.sees("Training", "#state")
    ada.press("Stop")
    until(lambda: space.state() == "stopped")
    assert ada.problems + bob.problems == []
    ada.close()
    bob.close()
    cookies = [one for one in hub.requests if one.path == "/oauth/token"]
    assert len(cookies) == 3
    for token in (TOKEN, BOBS, OPERATORS):
        assert token not in space.said


@pytest.mark.slow
@pytest.mark.browser
def test_pictures_are_taken_from_those_who_signed_in(
    browser: Browser, space: Running, hub: HubServer, tmp_path: Path
) -> None:
    folder = pictures(tmp_path / "set", range(40), size=64)
    files = sorted(str(file) for file in folder.iterdir())
    visit = Visit(browser, space.url, hub.endpoint)

    def upload() -> None:
        visit.page.get_by_label("A new small model, from scratch", exact=True).check()
        visit.page.get_by_label("Pictures that you upload", exact=True).check()
        visit.page.locator("#field-upload input[type=file]").set_input_files(files)

    upload()
    visit.sees("Sign in above to upload pictures")
    visit.sees("you are signed out", "#problem-upload")
    assert visit.text("#uploaded").strip() == ""
    visit.shoot("space-upload-signed-out")
    # The browser tells of the answer that it got; nothing else went wrong.
    assert [one for one in visit.problems if "401" not in one] == []
    visit.problems.clear()
    visit.sign_in("ada")
    taken: list[str] = []
    visit.page.on("response", lambda one: taken.extend(one.json() if "/upload?" in one.url else ()))
    upload()
    visit.sees("40 pictures", "#uploaded")
    until(lambda: visit.text("#problem-upload").strip() == "")
    assert visit.problems == []

    # What gradio took is read, and is gone; nobody can ask whether it was ever there.
    assert len(taken) == 40
    assert [file for file in space.received.rglob("*") if file.is_file()] == []
    bob = Visit(browser, space.url, hub.endpoint)
    bob.sign_in("bob")
    for asking in (bob, visit):
        for path in taken[:2]:
            answer = asking.page.request.get(f"{space.url}/gradio_api/file={path}")
            assert answer.status == 403
    bob.close()
    visit.close()


def small(visit: Visit) -> None:
    """Make a LoRA of the tiny model a matter of seconds."""
    for label, value in (("Epochs", "1"), ("Rounds", "2"), ("Shards", "2")):
        visit.fill(label, value)
    visit.fill("Memorization budget", "")
    visit.open_advanced()
    for label, value in (
        ("max train samples", "160"),
        ("held out fraction", "0.4"),
        ("max train steps", "8"),
        ("train batch size", "4"),
        ("num validation images", "0"),
        ("audit num images", "20"),
        ("timestep bias level", "0.3"),  # its hundred steps reach 0.84
    ):
        visit.fill(label, value)


@pytest.mark.browser
@pytest.mark.slow
def test_from_sign_in_to_a_published_model(
    browser: Browser, space: Running, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    grave: list[str] = []

    def look(name: str) -> None:
        visit.shoot(name)
        grave.extend(f"{name}: {said}" for said in violations(visit.page, grave=True))

    visit = Visit(browser, space.url, hub.endpoint)
    visit.tab("Runs")
    visit.sees("Sign in to see your runs")
    look("space-signed-out")
    visit.sign_in("ada")
    visit.tab("New training")  # a run of hers may still be saving
    visit.page.get_by_label("A model from the Hub").check()
    visit.fill("Model", "tiny-sd")
    visit.press("Search models")
    visit.page.get_by_label("lab/tiny-sd").check()
    visit.sees("StableDiffusionPipeline")
    visit.fill("Dataset", "pictures")
    visit.press("Search datasets")
    visit.page.get_by_label("ada/pictures").check()
    visit.sees("a very secret caption")
    small(visit)
    visit.page.get_by_label("This machine").check()
    look("space-new-training")
    visit.press("Start training")

    # Closed in the middle, opened again: nothing depends on the window.
    visit.sees("Preparing", "#state")
    visit.go()
    visit.tab("Runs")
    visit.sees("The model is ready", "#state", 240)
    visit.tab("Audit")
    visit.fill("Pictures to generate", "20")
    visit.press("Audit")
    (run,) = (one for one in space.runs() if one.name == "pictures")
    until((run / "audit" / "model" / "report.json").is_file, 240)
    visit.close()
    visit = Visit(browser, space.url, hub.endpoint)
    visit.sign_in("ada")
    visit.tab("Runs")
    visit.tab("Audit")
    visit.sees("Copies", "#audit")
    look("space-audit")

    visit.tab("Publish")
    visit.fill("Repository", "bob/mine")
    visit.press("Preview")
    visit.sees("bob", "#preview")
    assert not hub.exists("model", "bob/mine")
    visit.fill("Repository", "ada/mine")
    visit.press("Preview")
    visit.sees("memshield.json", "#preview")
    look("space-preview")
    # No warning applies to a private repository, so that nothing has to be agreed to.
    assert visit.page.locator("#confirm").get_by_role("checkbox").count() == 0
    visit.press("Publish")
    until(lambda: hub.exists("model", "ada/mine") and hub.tags("model", "ada/mine"), 120)
    visit.sees("ada/mine", "#publication")
    look("space-published")
    assert hub.is_private("model", "ada/mine")

    visit.press("Draw pictures")
    visit.sees("trained on", "#known")  # the run itself, which needs no publishing
    assert "pictures" in visit.page.locator("#own-run input").input_value()
    visit.page.get_by_label("A published model").check()
    visit.fill("Published model", "ada/mine")
    visit.press("Verify")
    visit.sees("Its files and claims are consistent", "#checks")
    visit.fill("Prompts", "a cat")
    visit.fill("Pictures", "2")
    visit.unfold("Steps and seed")
    visit.fill("Steps", "2")
    visit.press("Generate")
    visit.sees("2 pictures of ada/mine", "#drawing", 120)
    until(lambda: visit.page.locator("#pictures img").count() >= 2)
    visit.sees("of your run", "#pictures")  # her own training pictures are at hand
    look("space-drawn")
    assert visit.problems == []
    assert not grave, "\n".join(grave)
    visit.close()

    other = Visit(browser, space.url, hub.endpoint)
    other.sign_in("bob")
    other.tab("Use a model")
    other.fill("Published model", "ada/mine")
    other.press("Verify")
    other.sees("Published model: ", "#checks")
    other.close()

    connect(monkeypatch, hub.endpoint)
    # A client of diffusers' own keeps the endpoint of its import.
    monkeypatch.setattr(huggingface_hub.hf_api.api, "endpoint", hub.endpoint)
    pipeline = pull("ada/mine", token=TOKEN)
    assert len(pipeline("a cat", num_inference_steps=2).images) == 1
