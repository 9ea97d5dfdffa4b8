"""Hubs that answer otherwise than the Hugging Face Hub does, and what stands in for one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import HfApi

from memshield.errors import UserError
from memshield.hub.pull import fetch
from memshield.rundir import RunDir
from memshield.runs.publication import published_in, read_publication
from tests.hub.conftest import BOBS, TOKEN, FakeClock, fill
from tests.hub.publishing import publish, require_complete
from tests.hub_server import Fault, HubServer
from tests.hub_server.in_process import connect

PAGE = "<!doctype html><title>Sign in to the network</title>"


@pytest.fixture
def kohaku(tiny_base: Path, captions: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A Hub whose records have no ids of files, and which lacks a route."""
    with HubServer(records_have_ids=False) as server:
        fill(server, tiny_base, captions)
        connect(monkeypatch, server.endpoint)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        server.fail(Fault("answer", path="auth-check", status=404, times=None))
        yield server
    huggingface_hub.close_session()


def test_a_hub_without_ids_and_without_a_route(kohaku: HubServer, digits_run: RunDir) -> None:
    first = publish(digits_run)
    require_complete(kohaku, first)
    again = publish(digits_run)
    assert not again.changed and again.commit == first.commit
    assert fetch("ada/digits")[1].tag == first.tag


def test_a_token_that_may_not_write_is_still_refused(hub: HubServer, digits_run: RunDir) -> None:
    HfApi(token=BOBS).create_repo("bob/digits")
    with pytest.raises(UserError, match="this token cannot write to bob/digits"):
        publish(digits_run, hub_model_id="bob/digits")


def test_an_overloaded_hub_is_no_refusal(hub: HubServer, digits_run: RunDir) -> None:
    publish(digits_run)
    hub.fail(Fault("answer", path="/api/models/ada/digits", status=500, message="Oh", times=None))
    with pytest.raises(UserError) as caught:
        fetch("ada/digits")
    assert "the Hub could not answer for ada/digits (500)" in caught.value.problem
    assert "Check the name" not in str(caught.value)


def test_files_that_answer_500_are_not_the_networks_fault(
    hub: HubServer, digits_run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The client waits longer before each of its own retries.
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    # Of a repository of its own: the client's cache has the files of the others.
    publish(digits_run, hub_model_id="ada/slow")
    hub.fail(Fault("answer", path="/resolve/", status=500, message="Oh", times=None))
    with pytest.raises(UserError) as caught:
        fetch("ada/slow")
    assert "(500)" in caught.value.problem
    assert "network" not in str(caught.value)


@pytest.mark.parametrize("path", ["/api/models/ada/proxied", "/resolve/", "/tree/"])
def test_a_page_instead_of_an_answer_is_told(hub: HubServer, digits_run: RunDir, path: str) -> None:
    publish(digits_run, hub_model_id="ada/proxied")
    hub.fail(Fault("answer", path=path, status=200, page=PAGE, times=None))
    with pytest.raises(UserError, match="is not a Hub") as caught:
        fetch("ada/proxied")
    assert "HF_ENDPOINT" in caught.value.remedy


def test_a_page_instead_of_an_answer_ends_publishing_with_words(
    hub: HubServer, digits_run: RunDir
) -> None:
    hub.fail(Fault("answer", path="/whoami", status=200, page=PAGE, times=None))
    with pytest.raises(UserError, match="is not a Hub"):
        publish(digits_run)


def test_a_failure_elsewhere_leaves_what_is_published(
    hub: HubServer, digits_run: RunDir, clock: FakeClock
) -> None:
    first = publish(digits_run)
    hub.fail(Fault("answer", path="/repos/create", status=403, message="No room", times=None))
    with pytest.raises(UserError, match="No room"):
        publish(digits_run, clock, hub_model_id="ada/second")
    values = read_publication(digits_run)
    assert (values["state"], values["repo_id"]) == ("failed", "ada/second")
    assert published_in(values).keys() == {"ada/digits"}
    assert published_in(values)["ada/digits"]["tag"] == first.tag
    hub.clear_faults()
    publish(digits_run, clock, hub_model_id="ada/second")
    assert published_in(read_publication(digits_run)).keys() == {"ada/digits", "ada/second"}
