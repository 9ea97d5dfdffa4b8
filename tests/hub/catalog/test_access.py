"""Ids, pasted addresses and tokens, before anything is asked."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from memshield.errors import UserError
from memshield.hub.account import own_token, require_token
from memshield.hub.catalog.access import require_id
from memshield.network import RepoType


@pytest.mark.parametrize(
    ("text", "repo_type", "expected"),
    [
        ("ada/tiny-sd", "model", "ada/tiny-sd"),
        ("  ada/tiny_1.0\n", "dataset", "ada/tiny_1.0"),
        ("https://huggingface.co/ada/tiny-sd", "model", "ada/tiny-sd"),
        ("huggingface.co/ada/tiny-sd/", "model", "ada/tiny-sd"),
        ("https://hf.co/ada/tiny-sd?library=diffusers#usage", "model", "ada/tiny-sd"),
        ("https://huggingface.co/ada/tiny-sd/tree/main", "model", "ada/tiny-sd"),
        ("https://huggingface.co/datasets/ada/folder", "dataset", "ada/folder"),
    ],
)
def test_ids_and_addresses_of_pages(text: str, repo_type: RepoType, expected: str) -> None:
    assert require_id(text, repo_type) == expected


@pytest.mark.parametrize(
    "text",
    ["", "tiny-sd", "-x/y", "-x", "../x", "../../etc/passwd", "/etc/passwd", "~/x", "a/b/c",
     "a/b--c", "a/..", "a b/c", "a\\b", "a/b.git", "ä/b", "a/" + "b" * 200],
)  # fmt: skip
def test_no_id(text: str) -> None:
    with pytest.raises(UserError, match="owner/name") as caught:
        require_id(text, "model")
    assert caught.value.field == "pretrained_model_name_or_path"
    assert len(caught.value.problem) < 200


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("https://example.org/ada/tiny-sd", "not the page of a model"),
        ("https://huggingface.co.example.org/ada/tiny-sd", "not the page of a model"),
        ("https://ada@huggingface.co/ada/tiny-sd", "not the page of a model"),
        ("file:///etc/passwd", "not the page of a model"),
        ("http://[", "not the page of a model"),
        ("https://huggingface.co/ada", "not the page of a model"),
        ("https://huggingface.co/spaces/ada/demo", "not the page of a model"),
        ("https://huggingface.co/datasets/ada/folder", "page of a dataset"),
        ("https://huggingface.co/ada/tiny-sd/tree/v1", "as the revision"),
        ("https://huggingface.co/ada/tiny-sd/blob/main/unet/config.json", "part of a repository"),
        ("https://huggingface.co/ada/../x", "owner/name"),
    ],
)
def test_other_addresses(text: str, words: str) -> None:
    with pytest.raises(UserError) as caught:
        require_id(text, "model")
    assert words in str(caught.value)


@pytest.mark.parametrize("token", [None, False, True, "hf_" + "x" * 34, "eyJ.a-b_c.d=="])
def test_tokens_that_can_be_sent(token: str | bool | None) -> None:
    assert require_token(token) is token


@pytest.mark.parametrize("ask", [own_token, require_token])
def test_a_token_of_the_environment_that_cannot_be_sent(
    ask: Callable[[None], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_abc\u2026")
    with pytest.raises(UserError, match="letters that no token has") as caught:
        ask(None)
    assert "hf_abc" not in str(caught.value)


@pytest.mark.parametrize("token", ["", " ", "hf_x\r\nHost: elsewhere", "hf_ x", "hf_ä"])
def test_tokens_that_cannot(token: str) -> None:
    with pytest.raises(UserError) as caught:
        require_token(token)
    assert caught.value.field == "HF_TOKEN"
    if token.strip():
        assert token not in str(caught.value)
