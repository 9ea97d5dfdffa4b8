"""Published models on the page, without a browser: what its buttons and its clock answer."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from huggingface_hub import CommitOperationAdd, HfApi

from memshield.audit.report import REPORT, Report
from memshield.errors import UserError
from memshield.forecast.hardware import Machine
from memshield.hub.manifest import Base
from memshield.jobs.records import LOCAL
from memshield.jobs.service import Jobs
from memshield.sampling.record import Made, Nearness, NearnessRule, Samples
from memshield.ui.server.deployment import Deployment
from memshield.ui.server.server import Server
from memshield.ui.server.visitor import Visitors
from memshield.ui.use.generated_pictures import generated_view
from memshield.ui.use.published_model import VerifiedModel, generate, read_request
from memshield.ui.use.tab import Handlers
from tests.hub.claims import manifest_of
from tests.hub.conftest import BOBS, TOKEN
from tests.hub.conftest import hub as hub
from tests.hub_server import HubServer
from tests.ui.markup import text_of
from tests.ui.published import own_run, publish_run
from tests.ui.servers import end_tasks, until

MACHINE = Machine((), 2, 8 * 10**9)
SKIPPED = gr.skip()
HUB = ("hub", None, None)
"""A published model, and no run."""


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "data"
    end_tasks(tmp_path / "data")


@pytest.fixture
def opened(hub: HubServer, data: Path, tmp_path: Path) -> Iterator[Callable[[bool], Server]]:
    """Opens a server, on a Space or at home, whose tasks find the loopback Hub."""
    made: list[Jobs] = []

    def open_server(on_space: bool) -> Server:
        environment = hub.environ(tmp_path / "home", None if on_space else TOKEN)
        jobs = Jobs(data, ["cpu"], environment={**environment, "OMP_NUM_THREADS": "1"})
        made.append(jobs)
        return Server(Deployment(on_space, data, None), jobs, Visitors(on_space), MACHINE)

    yield open_server
    for jobs in made:
        jobs.close()


def signed_in(token: str) -> gr.OAuthToken:
    return gr.OAuthToken(token=token, scope="", expires_at=2**40)


def said(answer: Any) -> str:
    """Words of an output, which may be the settings of a component."""
    value = answer["value"] if isinstance(answer, dict) else getattr(answer, "value", answer)
    return text_of(str(value))


@pytest.mark.process
def test_own_pictures_are_verified_drawn_and_compared(
    hub: HubServer, data: Path, trained_digits: Path, opened: Callable[[bool], Server]
) -> None:
    publish_run(own_run(data, trained_digits), "ada/digits")
    server = opened(False)
    act = Handlers(server)
    source, runs, own, hint, status, pictures, *_ = act.load(None)
    assert source == "run" and [name.split(" ")[0] for name, _ in runs.choices] == ["digits"]
    assert own.choices == [("ada/digits", "ada/digits")] and not hint.visible
    assert "No pictures yet" in said(status) and pictures == ""

    checks, known, glance, _, code, *_, prompts = act.verify(" ada/digits ", None)
    assert "Its files and claims are consistent" in said(checks) and known.visible
    assert "120 pictures of sklearn:digits" in said(glance)
    assert 'DDIMPipeline.from_pretrained("ada/digits")' in code.value
    assert not prompts.visible

    server.jobs.scheduler.run()
    wrong, status, _, stop, clock, marks = act.generate(
        *HUB, "ada/digits", "not for this model", 2, 2, 0, None
    )
    assert not wrong.visible and stop.visible and clock.active
    assert "2 pictures of ada/digits" in said(status)

    def done() -> Any:
        nonlocal marks
        status, pictures, stop, clock, new = act.tick(marks, None)
        if new == SKIPPED:
            return None
        marks = new
        assert "Failed" not in said(status), said(status)
        return None if clock.active else (status, pictures, stop)

    status, pictures, stop = until(done, 120)
    assert "Done" in said(status) and not stop.visible
    assert "None of 2 pictures is a near-copy of the 120 training pictures" in said(pictures)
    assert said(pictures).count("· No near-copy found") == 2
    assert str(pictures).count("data:image/webp") == 2
    # Where nothing is new, nothing is sent; and a new window shows the same.
    assert act.tick(marks, None) == [SKIPPED] * 5
    assert "No near-copy" in said(act.load(None)[5])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (None, "is empty"),
        ("  ", "is empty"),
        ("../x", "is no id on the Hub"),
        ("/etc/passwd", "is no id on the Hub"),
        ("nobody/nothing", "is not on the Hub or not readable"),
        ("lab/tiny-sd", "It was not published by MemShield"),
        ("ada/pictures", "is a dataset, not a model"),
    ],
)
def test_wrong_names_are_answered_in_words(
    opened: Callable[[bool], Server], name: str | None, words: str
) -> None:
    server = opened(False)
    act = Handlers(server)
    checks, known, *_ = act.verify(name, None)
    assert words in said(checks) and not known.visible
    wrong, *others = act.generate(*HUB, name, "a cat", 1, 1, 0, None)
    assert words in said(wrong) and wrong.visible and others == [SKIPPED] * 5
    assert server.jobs.requests.view(LOCAL, "sample") is None


def test_numbers_and_prompts_of_any_type_are_answered_in_words(
    data: Path, trained_digits: Path, opened: Callable[[bool], Server]
) -> None:
    publish_run(own_run(data, trained_digits), "ada/digits")
    server = opened(False)
    act = Handlers(server)
    odd: tuple[Any, ...] = (None, "", "x", [], {"a": 1}, -1, 0, 17, 1e300, float("nan"), True)
    for value in odd:
        wrong, *others = act.generate(*HUB, "ada/digits", None, value, 1, 0, None)
        assert "Pictures : must be" in said(wrong), value
        assert others == [SKIPPED] * 5
    for place, label in ((1, "Steps"), (2, "Seed")):
        numbers: list[Any] = [1, 1, 0]
        for value in (None, "x", -1, 10**40, [1]):
            numbers[place] = value
            number, steps, seed = numbers
            wrong, *_ = act.generate(*HUB, "ada/digits", None, number, steps, seed, None)
            assert f"{label} : must be" in said(wrong), value
    assert server.jobs.requests.view(LOCAL, "sample") is None


def test_a_model_that_does_not_hold_draws_nothing(
    hub: HubServer, data: Path, trained_digits: Path, opened: Callable[[bool], Server]
) -> None:
    publish_run(own_run(data, trained_digits), "ada/digits")
    text = hub.repo_files("model", "ada/digits")["memshield.json"].decode()
    values = json.loads(text)
    values["audit"]["memorization"][0]["excess"] = -0.5
    addition = CommitOperationAdd("memshield.json", json.dumps(values).encode())
    HfApi(token=TOKEN).create_commit("ada/digits", [addition], commit_message="Better")
    server = opened(False)
    act = Handlers(server)
    checks, known, *_ = act.verify("ada/digits", None)
    assert "Do not use this model" in said(checks) and not known.visible
    wrong, *_ = act.generate(*HUB, "ada/digits", None, 1, 1, 0, None)
    assert "Do not use this model" in said(wrong)
    assert server.jobs.requests.view(LOCAL, "sample") is None


def test_a_lora_without_its_base_is_its_owners_to_draw_with(
    opened: Callable[[bool], Server],
) -> None:
    server = opened(False)
    withheld = manifest_of(base=Base(name=None, revision=None))
    assert withheld.lacks_base and not manifest_of().lacks_base
    published = VerifiedModel("bob/lora", "0" * 40, (), withheld, "")
    request = read_request("a cat", 1, 1, 0, text=True)
    with pytest.raises(UserError, match="does not say for which model"):
        generate(server.jobs, server.visitor(None), published, request)
    assert server.jobs.requests.view(LOCAL, "sample") is None


def test_on_a_space_pictures_and_the_run_beside_them_are_their_owners(
    hub: HubServer, data: Path, trained_digits: Path, opened: Callable[[bool], Server]
) -> None:
    publish_run(own_run(data, trained_digits, owner="ada"), "ada/digits")
    server = opened(True)
    act = Handlers(server)
    # Signed out: verified, and told to sign in.
    *_, hint, status, _, _, _, _ = act.load(None)
    assert hint.visible and "Sign in to generate" in said(status)
    assert "are consistent" in said(act.verify("ada/digits", None)[0])
    wrong, *others = act.generate(*HUB, "ada/digits", None, 1, 1, 0, None)
    assert "Sign in above" in said(wrong) and others == [SKIPPED] * 5
    act.stop(None)

    ada, bob = signed_in(TOKEN), signed_in(BOBS)
    act.generate(*HUB, "ada/digits", None, 1, 1, 0, ada)
    mine = server.jobs.requests.view("ada", "sample")
    assert mine is not None and mine.progress.state == "waiting", "everybody may read the model"
    assert mine.arguments is not None and mine.arguments.against is not None
    # Somebody else sees nothing of it, cannot stop it, and has nobody's training pictures beside.
    assert act.load(bob)[2].choices == []
    assert "No pictures yet" in said(act.tick(None, bob)[0])
    act.stop(bob)
    assert mine == server.jobs.requests.view("ada", "sample")
    act.generate(*HUB, "ada/digits", None, 1, 1, 0, bob)
    theirs = server.jobs.requests.view("bob", "sample")
    assert theirs is not None and theirs.arguments is not None and theirs.arguments.against is None
    wrong, *_ = act.generate(*HUB, "ada/digits", None, 1, 1, 0, bob)
    assert "one of yours waits already" in said(wrong)
    # A run whose pictures are not there any more is none to compare with, and no obstacle.
    act.stop(bob)
    config = next(data.glob("jobs/*/digits/config.yaml"))
    config.write_text(config.read_text().replace("sklearn:digits", "/srv/gone"))
    act.stop(ada)
    act.generate(*HUB, "ada/digits", None, 1, 1, 0, ada)
    mine = server.jobs.requests.view("ada", "sample")
    assert mine is not None and mine.arguments is not None and mine.arguments.against is None
    act.stop(ada)
    status, _, stop, clock, _ = act.tick(None, ada)
    assert "Stopped" in said(status) and not stop.visible and not clock.active
    for path in data.rglob("*"):
        if path.is_file():
            found = path.read_bytes()
            assert TOKEN.encode() not in found and BOBS.encode() not in found, path


def test_an_own_run_draws_without_being_published(
    data: Path, trained_digits: Path, opened: Callable[[bool], Server]
) -> None:
    run = own_run(data, trained_digits, owner="ada")
    Report.read(run.audit_of(None) / REPORT).write(run.path / "audit" / "base" / REPORT)
    server = opened(True)
    act, ada, bob = Handlers(server), signed_in(TOKEN), signed_in(BOBS)
    source, runs, *_ = act.load(ada)
    id = runs.value
    assert source == "run" and id == run.path.parent.name
    rounds = act.rounds(id, ada)
    assert [value for _, value in rounds.choices] == ["model", "3", "2", "1"]
    assert "audited" in rounds.choices[0][0] and "audited" not in rounds.choices[2][0]
    checks, known, glance, *_, prompts = act.show("run", id, "model", ada)
    assert checks == "" and known.visible and not prompts.visible
    assert "120 pictures of sklearn:digits" in said(glance) and "Copies" in said(glance)
    assert "Before it was trained, the model had" in said(glance)
    assert "Not audited" in said(act.show("run", id, "2", ada)[2])
    odd: tuple[Any, ...] = ("9", "../x", 7, [], "x")
    for what in odd:
        assert "there is no such model" in said(act.show("run", id, what, ada)[0])

    act.generate("run", id, "2", None, None, 2, 1, 0, ada)
    mine = server.jobs.requests.view("ada", "sample")
    assert mine is not None and mine.arguments is not None
    assert (mine.arguments.target, mine.arguments.round) == (str(run.path), 2)
    assert "2 pictures of digits, round 2" in said(act.load(ada)[4])
    server.jobs.titles.change("ada", id, "My <b>dogs</b>")
    assert "2 pictures of My <b>dogs</b>, round 2" in said(act.load(ada)[4])
    offered, runs, *_ = act.refresh(id, "", None, ada)
    assert offered == "" and list(runs.constructor_args) == ["choices"]
    # A run that has a model by now is shown, unless another model was named.
    source, runs, *_ = act.refresh(None, "", None, ada)
    assert source == "run" and runs.value == id
    assert act.refresh(None, "a/b", None, ada)[0] == ""
    # Also where the Hub did not say who she is as the page was opened.
    assert act.refresh(None, "", None, None)[3].visible
    assert not act.refresh(None, "", None, ada)[3].visible
    # What is typed takes a choice among the published ones back; nothing is verified then.
    assert act.pick("", ada) == [SKIPPED] * 10
    # A published model that was verified meanwhile is not shown in its place.
    assert "digits" in said(act.show_run("run", id, "model", ada)[2])
    assert act.show_run("hub", id, "model", ada) == [SKIPPED] * 9
    # It is nobody else's.
    source, runs, *_ = act.load(bob)
    assert source == "" and runs == SKIPPED  # as in the page that has not loaded: none
    assert act.rounds(id, bob).choices == [] and act.refresh(id, "", None, bob)[1].choices == []
    # "Draw pictures" below a finished run; of somebody else's nothing is chosen.
    source, runs = act.choose(id, ada)
    assert source.value == "run" and runs.value == id and id in [one for _, one in runs.choices]
    assert act.choose(id, bob) == act.choose("none", ada) == act.choose(id, None) == (SKIPPED,) * 2
    for one in (id, None, ["a"], "../x"):
        wrong, *others = act.generate("run", one, "model", None, None, 1, 1, 0, bob)
        assert "there is no job" in said(wrong) and others == [SKIPPED] * 5
    assert "there is no job" in said(act.show("run", id, "model", bob)[0])
    assert server.jobs.requests.view("bob", "sample") is None
    wrong, *_ = act.generate("run", id, "model", None, None, 1, 1, 0, None)
    assert "Sign in above" in said(wrong)


def test_a_private_model_waits_for_its_owners_token(
    data: Path, trained_digits: Path, opened: Callable[[bool], Server]
) -> None:
    run = own_run(data, trained_digits, owner="ada")
    publish_run(run, "ada/digits", hub_private_repo=True)
    server = opened(True)
    act = Handlers(server)
    assert "not readable" in said(act.verify("ada/digits", None)[0])
    act.generate(*HUB, "ada/digits", None, 1, 1, 0, signed_in(TOKEN))
    server.sign_out(TOKEN)
    waiting = server.jobs.requests.view("ada", "sample")
    assert waiting is not None and waiting.progress.state == "needs_sign_in"


def test_every_warning_is_told_in_words(tmp_path: Path) -> None:
    from PIL import Image

    for name in ("0000.png", "0000-nearest.png", "0001.png"):
        Image.new("L", (8, 8), 90).save(tmp_path / name)
    near: dict[str, Any] = {"distance": 0.1, "training": 3, "mirrored": True}
    copy = Nearness(level="near_copy", value=0.1, as_near=0.0, nearest="0000-nearest.png", **near)
    close = Nearness(level="close", value=0.5, as_near=0.04, **near)
    hostile = "<img src=x onerror=alert(1)>"
    made = [
        Made(file="0000.png", seed=0, prompt=hostile, warning=copy),
        Made(file="0001.png", seed=1, prompt=hostile, warning=close),
        Made(file="../secret.png", seed=2, prompt=None, broken=True),
        Made(file="0009.png", seed=3, prompt=None),
    ]
    samples = Samples(
        model="a/b", total=4, steps=1, run="mine", compared=120, pictures=tuple(made),
        rule=NearnessRule(source="audit", statistic="ratio", threshold=0.3, chance=0.05, close=0.6),
    )  # fmt: skip
    html = generated_view(samples, tmp_path, busy=True)
    text = text_of(html)
    for words in (
        "1 of 2 pictures is a near-copy of what your run mine was trained on",
        "⚠ Near-copy of a training picture", "left generated, right the training picture",
        "◐ Closer than usual", "at most 4.0", "✕ Broken", "… Being compared", "mirrored", hostile,
    ):  # fmt: skip
        assert words in text, words
    assert "<img src=x" not in html
    assert html.count("data:image/webp") == 3
    assert text.count("the file cannot be read") == 2
    assert "– Not compared" in text_of(generated_view(samples, tmp_path, busy=False))
    renamed = text_of(generated_view(samples, tmp_path, busy=True, run="My <b>dogs</b>"))
    assert "of what your run My <b>dogs</b> was trained on" in renamed
    assert os.sep + "secret" not in html


def test_broken_pictures_are_not_counted_as_compared(tmp_path: Path) -> None:
    fine = Nearness(level="none", value=0.9, as_near=None, distance=0.5, training=3, mirrored=False)
    broken = [Made(file=f"{n}.png", seed=n, prompt=None, broken=True) for n in range(2)]
    whole = Made(file="9.png", seed=9, prompt=None, warning=fine)
    values: dict[str, Any] = {"model": "a/b", "total": 3, "steps": 1, "run": "mine", "compared": 9}
    samples = Samples(
        **values, pictures=(*broken, whole),
        rule=NearnessRule(source="audit", statistic="ratio", threshold=0.3),
    )  # fmt: skip
    text = text_of(generated_view(samples, tmp_path, busy=False))
    assert "None of 1 picture is a near-copy of the 9 training pictures of your run mine" in text
    assert "2 more are broken and were not compared" in text
    none = samples.model_copy(update={"pictures": tuple(broken)})
    html = generated_view(none, tmp_path, busy=False)
    assert "Broken: 2 pictures, and none could be compared" in text_of(html)
    assert "near-copy" not in text_of(html) and "ms-alarm" in html
