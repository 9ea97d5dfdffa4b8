"""Problems of a form: asked of the loopback Hub with the visitor's token, without torch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from memshield.ui.form.choices import Choices
from memshield.ui.form.problems import problems_of
from tests.hub.catalog import ADA, EVE, Visit, ask
from tests.hub_server import HubServer
from tests.ui.repos import PIXELS, TEXT, model, pictures

GOOD: dict[str, Any] = {
    "recipe": "sd_lora",
    "model": "ada/sd",
    "dataset": "ada/pictures",
    "rounds": 2,
}
SECRET = {**GOOD, "model": "ada/secret-sd", "dataset": "ada/secret-pictures"}
PUBLISH = {**GOOD, "hub_model_id": "ada/new"}
ASKED: dict[str, tuple[dict[str, Any], str | bool]] = {
    "good": (GOOD, False),
    "address": ({**GOOD, "model": "https://huggingface.co/ada/sd"}, False),
    "secret, signed out": (SECRET, False),
    "secret, another": (SECRET, EVE),
    "secret, its owner": (SECRET, ADA),
    "gated": ({**GOOD, "model": "lab/gated-sd", "dataset": "lab/gated"}, EVE),
    "another family": ({**GOOD, "recipe": "pixels"}, False),
    "split and columns": (
        {**GOOD, "split": "test", "image_column": "text", "caption_column": "words"},
        False,
    ),
    "no captions": ({**GOOD, "dataset": "ada/plain"}, False),
    "resolution": ({**GOOD, "resolution": 17, "rounds": 0}, False),
    "own code": ({**GOOD, "model": "ada/odd"}, False),
    "many shards": ({**GOOD, "shards": 500}, False),
    "publish signed out": (PUBLISH, False),
    "publish": (PUBLISH, ADA),
    "publish to another's": ({**GOOD, "hub_model_id": "ada/new"}, EVE),
    "publish in public": ({**SECRET, "hub_model_id": "ada/new", "private": False}, ADA),
    "no license": ({**PUBLISH, "model": "ada/unlicensed"}, ADA),
    "no license, confirmed": (
        {**PUBLISH, "model": "ada/unlicensed", "confirm": ["license"]},
        ADA,
    ),
    "bad vae": ({**GOOD, "advanced": {"pretrained_vae_model_name_or_path": "ada/none"}}, False),
    "buckets": ({**GOOD, "advanced": {"aspect_ratio_buckets": "auto"}}, False),
    "odd buckets": ({**GOOD, "advanced": {"aspect_ratio_buckets": "512,512;640,381"}}, False),
    "unknown token": (GOOD, "hf_" + "nobodys"),
    "missing model": ({**GOOD, "model": None, "split": "test"}, False),
}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    root = tmp_path_factory.mktemp("repos")
    text = model(root / "sd", TEXT)
    odd = model(root / "odd", {**TEXT, "vae/config.json": {"block_out_channels": 7}})
    captioned = pictures(root / "pictures", range(40), captions=True)
    with HubServer() as server:
        server.add_user("ada", ADA)
        server.add_user("eve", EVE)
        server.add_repo("model", "ada/sd", text)
        server.add_repo("model", "ada/secret-sd", text, private=True)
        server.add_repo("model", "lab/gated-sd", text, gated=True)
        server.add_repo("model", "ada/odd", odd)
        server.add_repo("model", "ada/unlicensed", model(root / "bare", TEXT, license=None))
        server.add_repo("model", "ada/ddpm", model(root / "ddpm", PIXELS))
        server.add_repo("dataset", "ada/pictures", captioned)
        server.add_repo("dataset", "ada/secret-pictures", captioned, private=True)
        server.add_repo("dataset", "lab/gated", captioned, gated=True)
        server.add_repo("dataset", "ada/plain", pictures(root / "plain", range(40)))
        yield server


@pytest.fixture(scope="module")
def visit(hub: HubServer, tmp_path_factory: pytest.TempPathFactory) -> Visit:
    """All of it in one child, whose own token is Ada's."""
    home = tmp_path_factory.mktemp("home")
    pairs = pictures(tmp_path_factory.mktemp("pairs") / "set", [0, 0, 1])
    calls = [("problems", {"choices": one, "token": who}) for one, who in ASKED.values()]
    last = ("others", {"folder": str(pairs)})
    return ask(hub, home, *calls, last, module="tests.ui.form.calls")


@pytest.fixture(scope="module")
def found(visit: Visit) -> dict[str, list[list[str]]]:
    return {
        name: answer["found"]
        for name, answer in zip(ASKED, visit.answers[: len(ASKED)], strict=True)
    }


def inputs(problems: list[list[str]]) -> list[str]:
    return [field for field, *_ in problems]


@pytest.mark.process
def test_a_form_in_order(found: dict[str, list[list[str]]]) -> None:
    assert found["good"] == found["address"] == found["publish"] == []


@pytest.mark.process
def test_the_visitors_token_counts_and_never_the_hosts(
    found: dict[str, list[list[str]]], visit: Visit, hub: HubServer
) -> None:
    assert found["secret, its owner"] == []
    for name in ("secret, signed out", "secret, another"):
        assert inputs(found[name]) == ["model", "dataset"]
        assert all("not readable" in problem for _, problem, _ in found[name])
    assert inputs(found["gated"]) == ["model", "dataset"]
    assert all("gated" in problem for _, problem, _ in found["gated"])
    assert found["unknown token"][0][:2] == ["sign_in", "the Hub does not know this token"]


@pytest.mark.process
def test_signed_out_nothing_is_sent(hub: HubServer, tmp_path: Path) -> None:
    call = ("problems", {"choices": PUBLISH, "token": False})
    alone = ask(hub, tmp_path, call, module="tests.ui.form.calls")
    assert alone.to_hub
    assert all("authorization" not in request.headers for request in alone.to_hub)


@pytest.mark.process
def test_problems_stand_beside_their_inputs(found: dict[str, list[list[str]]]) -> None:
    assert found["another family"][0][0] == "recipe"
    assert "Stable Diffusion, LoRA" in found["another family"][0][2]
    assert inputs(found["split and columns"]) == ["split", "caption_column", "image_column"]
    assert inputs(found["no captions"]) == ["caption_column"]
    assert sorted(inputs(found["resolution"])) == ["resolution", "rounds"]
    assert inputs(found["own code"]) == ["model"]
    assert "no pipeline's hold" in found["own code"][0][1]
    assert inputs(found["many shards"]) == ["shards"]
    assert inputs(found["bad vae"]) == ["pretrained_vae_model_name_or_path"]
    assert found["buckets"] == []
    (odd,) = found["odd buckets"]
    assert odd[0] == "aspect_ratio_buckets"
    assert "this model takes multiples of" in odd[1] and "640,381 is none" in odd[1]
    assert inputs(found["missing model"]) == ["model", "split"]


@pytest.mark.process
def test_publishing_is_checked(found: dict[str, list[list[str]]]) -> None:
    assert inputs(found["publish signed out"]) == ["sign_in"]
    assert found["publish signed out"][0][2] == "Sign in with Hugging Face."
    assert inputs(found["publish to another's"]) == ["hub_model_id"]
    assert "private" in inputs(found["publish in public"])
    assert inputs(found["no license"]) == ["confirm"]
    assert found["no license, confirmed"] == []


@pytest.mark.process
def test_without_torch_and_with_prices(visit: Visit) -> None:
    others = visit.answers[-1]
    assert others["fields"] > 40
    assert others["pairs"] == 1
    first, second = others["prices"]
    assert first == second and round(first["t4-small"], 3) == 0.4
    asked = [request for request in visit.to_hub if "/hardware" in request.path]
    assert len(asked) == 2, "the Hub is asked once, and remembered"
    assert all("authorization" not in request.headers for request in asked)


def test_the_demo_asks_nobody() -> None:
    assert problems_of(Choices(), token=False) == []


@pytest.mark.parametrize(
    "choices, field",
    [
        (Choices(recipe="sd_lora", model="configs/models", dataset="a/b"), "model"),
        (Choices(recipe="sd_lora", model="/etc", dataset="a/b"), "model"),
        (Choices(dataset="memshield/ui"), "dataset"),
        (Choices(dataset="../../x"), "dataset"),
        (Choices(dataset="sklearn:digits"), "dataset"),
        (Choices(advanced={"output_dir": "/tmp/x"}), "output_dir"),
        (Choices(advanced={"report_to": ["wandb"]}), "report_to"),
        (Choices(advanced={"train_data_dir": "/"}), "folder"),
        (Choices(advanced={"rank": "many"}), "rank"),
        (Choices(recipe="none"), "recipe"),  # type: ignore[arg-type]
        (Choices(recipe=["demo"]), "recipe"),  # type: ignore[arg-type]
        (Choices(dataset=7), "dataset"),  # type: ignore[arg-type]
        (Choices(hub_model_id="x" * 10_000), "hub_model_id"),
        (Choices(advanced="seed"), "advanced"),  # type: ignore[arg-type]
        (Choices(rounds=100_000, shards=1500, advanced={"max_train_steps": 10**12}), "rounds"),
        (Choices(folder=Path("/nowhere")), "folder"),
        (Choices(strength=1.5), "strength"),
        (Choices(budget=-1), "budget"),
        (Choices(epochs=0), "epochs"),
        (Choices(rounds=100_000), "rounds"),
        (Choices(advanced={"mixed_precision": "fp32"}), "mixed_precision"),
        (Choices(advanced={"aspect_ratio_buckets": "auto"}), "aspect_ratio_buckets"),
        (Choices(advanced={"aspect_ratio_buckets": "wide"}), "aspect_ratio_buckets"),
        (Choices(advanced={"held_out_fraction": 0}), "budget"),
        (Choices(advanced={"enable_vae_tiling": True}), "enable_vae_tiling"),
    ],
)
def test_hostile_and_wrong_forms(choices: Choices, field: str, monkeypatch: Any) -> None:
    def none(*_: Any, **__: Any) -> Any:
        raise AssertionError("nothing may be asked about it")

    monkeypatch.setattr("memshield.families.repository.HfApi", none)
    monkeypatch.setattr("memshield.hub.catalog.access.HfApi.model_info", none)
    if choices.dataset is not None and choices.dataset != "a/b":
        monkeypatch.setattr("memshield.hub.catalog.access.HfApi.dataset_info", none)
    assert field in [error.field for error in problems_of(choices, token=False)]


def test_a_token_that_no_header_takes() -> None:
    (error,) = problems_of(Choices(), token="hf_a\nb")
    assert error.field == "sign_in"
    assert "hf_a" not in str(error)
    assert error.remedy == "Sign in with Hugging Face."
    # At home a token may have been typed, and there is nothing to sign in to.
    (error,) = problems_of(Choices(), token="hf_a\nb", at_home=True)
    assert "Sign in" not in str(error)


def test_a_folder_of_ones_own(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "own", range(20))
    assert problems_of(Choices(folder=folder), token=False, rows=None)[0].field in (
        "audit_every_rounds",
        "rounds",
    )
    empty = tmp_path / "empty"
    empty.mkdir()
    assert [e.field for e in problems_of(Choices(folder=empty), token=False)] == ["folder"]
