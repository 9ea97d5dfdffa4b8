"""The first pictures of datasets on the loopback Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.hub.catalog import ADA, Visit, ask, words
from tests.hub_server import HubServer

pytestmark = pytest.mark.process

CALLS: dict[str, dict[str, Any]] = {
    "table": {"repo_id": "ada/table", "count": 2, "side": 64},
    "test": {"repo_id": "ada/table", "split": "test", "caption_column": "caption"},
    "folder": {"repo_id": "ada/folder", "count": 3},
    "zipped": {"repo_id": "ada/zipped", "count": 3},
    "labels": {"repo_id": "ada/labels"},
    "hostile": {"repo_id": "ada/hostile", "count": 20},
    "paths": {"repo_id": "ada/paths"},
    "outside-paths": {"repo_id": "ada/outside-paths"},
    "lies": {"repo_id": "ada/lies"},
    "large": {"repo_id": "ada/two", "config": "large", "count": 8},
    "count": {"repo_id": "ada/folder", "count": 0},
    "split": {"repo_id": "ada/folder", "split": "dev"},
    "column": {"repo_id": "ada/folder", "image_column": "photo"},
    "no pictures": {"repo_id": "ada/numbers"},
    "format": {"repo_id": "ada/words"},
    "gated": {"repo_id": "lab/gated-folder"},
    "script": {"repo_id": "ada/script"},
}


@pytest.fixture(scope="module")
def visit(hub: HubServer, tmp_path_factory: pytest.TempPathFactory) -> Visit:
    hub.set_gated_access("ada", [])
    home = tmp_path_factory.mktemp("home")
    return ask(hub, home, *(("preview", call) for call in CALLS.values()))


@pytest.fixture(scope="module")
def seen(visit: Visit) -> dict[str, Any]:
    return dict(zip(CALLS, visit.answers, strict=True))


def captions(answer: Any) -> list[str | None]:
    return [one["caption"] for one in answer["shown"]]


def test_pictures_with_captions(seen: dict[str, Any], hub_folders: Path) -> None:
    first = np.asarray(Image.open(hub_folders / "sets/folder/0000.png").convert("RGB"))
    for name in ("folder", "zipped"):
        answer = seen[name]
        assert captions(answer) == [f"picture number {i}" for i in range(3)]
        assert answer["shown"][0]["image"] == {
            "mode": "RGB",
            "size": [16, 16],
            "corner": first[0, 0].tolist(),
        }
        assert answer["skipped"] == []


def test_parquet(seen: dict[str, Any]) -> None:
    assert captions(seen["table"]) == ["text 0", "text 1"]
    assert [one["image"]["size"] for one in seen["table"]["shown"]] == [[64, 64]] * 2
    # Of several captions the first, as in training.
    assert captions(seen["test"]) == [f"caption {i}" for i in range(4)]
    assert [one["row"] for one in seen["large"]["shown"]] == list(range(8))


def test_without_captions(seen: dict[str, Any]) -> None:
    assert captions(seen["labels"]) == [None] * 6


def test_what_cannot_be_shown_is_said(seen: dict[str, Any]) -> None:
    answer = seen["hostile"]
    assert captions(answer) == ["row of good.png", "row of sub/../good.png"]
    broken, bomb, *elsewhere = answer["skipped"]
    assert broken.startswith("row 1: ") and "broken" in broken
    assert bomb.startswith("row 2: ") and "400000000 pixels" in bomb
    assert [text.partition(":")[0] for text in elsewhere] == ["row 3", "row 4", "row 5", "row 6"]
    assert all("not there, or not in this dataset" in text for text in elsewhere)


def test_files_of_this_machine_are_not_followed(seen: dict[str, Any]) -> None:
    assert "'image' holds no pictures" in words(seen["paths"])
    assert seen["outside-paths"]["shown"] == []
    assert seen["outside-paths"]["skipped"][0] == (
        "row 0: it is stored as a path, which is not followed"
    )


def test_a_card_that_lies(seen: dict[str, Any]) -> None:
    assert seen["lies"] == {"shown": [], "skipped": ["row 0: there is no picture"]}


def test_no_more_than_the_first_rows_is_fetched(visit: Visit, hub_folders: Path) -> None:
    file = hub_folders / "sets/table/data/train-00000-of-00001.parquet"
    size = file.stat().st_size
    fetched = 0
    for request in visit.fetched:
        first, _, last = request.headers["range"].removeprefix("bytes=").partition("-")
        if int(last) >= 2**20:
            fetched += int(last) - int(first) + 1
    assert 0 < fetched < size / 2


def test_a_signed_out_visitor_never_uses_the_hosts_token(visit: Visit) -> None:
    assert not [request for request in visit.requests if "authorization" in request.headers]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("count", "count: must lie in 1 to 64"),
        ("split", "dataset_split: ada/folder has no split 'dev': It has: train"),
        ("column", "image_column: there is no column 'photo'"),
        ("no pictures", "'image' holds Value('int64'), not pictures"),
        ("format", "stored as json, which cannot be looked into in place"),
        ("script", "which is never run"),
    ],
)
def test_refusals(seen: dict[str, Any], name: str, expected: str) -> None:
    assert expected in words(seen[name])


def test_a_gated_set_says_where_to_accept(seen: dict[str, Any], hub: HubServer) -> None:
    assert "lab/gated-folder is gated, and you have no access to it" in words(seen["gated"])
    assert f"{hub.endpoint}/datasets/lab/gated-folder" in words(seen["gated"])


def test_tokens_are_sent_to_the_hub_only(hub: HubServer, tmp_path: Path) -> None:
    arguments = {"repo_id": "ada/secret-folder", "token": ADA, "count": 1}
    visit = ask(hub, tmp_path, ("preview", arguments))
    assert captions(visit.answers[0]) == ["picture number 0"]
    assert {request.headers.get("authorization") for request in visit.to_hub} == {f"Bearer {ADA}"}
    assert not [request for request in visit.fetched if "authorization" in request.headers]
