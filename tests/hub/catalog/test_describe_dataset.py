"""Describing datasets on the loopback Hub."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pytest

from memshield.errors import UserError
from memshield.hub.catalog.dataset_description import DatasetDescription, DatasetSplit
from tests.hub.catalog import ADA, EVE, Visit, ask, words
from tests.hub_server import HubServer

pytestmark = pytest.mark.process

NOTHING = DatasetDescription(
    id="ada/empty", sha="0" * 40, page="", configs=(), config=None, format=None, splits=(),
    columns=(), used=None, unused=None, license=None, gated=False, has_access=True, private=False,
    downloads=0, likes=0,
)  # fmt: skip

# Cards that take data from elsewhere; the same in a file apart is "-apart".
OUTSIDE = ("outside", "in-list", "above", "folder-above", "elsewhere", "linked")
SETS = ("folder", "table", "two", "labels", "zipped", "words", "numbers", "lies")


@pytest.fixture(scope="module")
def signed_out(hub: HubServer, home: Path) -> Visit:
    return ask(
        hub,
        home,
        *(("describe_dataset", {"repo_id": f"ada/{name}"}) for name in SETS),
        ("describe_dataset", {"repo_id": "ada/two", "config": "large"}),
        ("describe_dataset", {"repo_id": "lab/gated-folder"}),
    )


@pytest.fixture(scope="module")
def found(signed_out: Visit) -> dict[str, Any]:
    return dict(zip((*SETS, "large", "gated"), signed_out.answers, strict=True))


def shapes(answer: Any) -> list[tuple[Any, ...]]:
    return [(one["name"], one["kind"], *one["classes"]) for one in answer["columns"]]


def test_a_picture_folder_with_captions(found: dict[str, Any], hub_folders: Path) -> None:
    folder = hub_folders / "sets/folder"
    size = sum(file.stat().st_size for file in folder.iterdir() if file.name != "README.md")
    answer = found["folder"]
    assert answer["format"] == "imagefolder"
    assert answer["splits"] == [{"name": "train", "rows": 12, "bytes": size}]
    assert shapes(answer) == [("image", "image"), ("text", "text")]
    assert answer["used"] == {"image": "image", "caption": "text", "label": None}
    assert answer["unused"] is None
    assert answer["license"]["id"] == "mit"
    assert (answer["gated"], answer["has_access"], answer["private"]) == (False, True, False)
    assert len(answer["sha"]) == 40
    assert answer["page"].endswith("/datasets/ada/folder")


def test_parquet(found: dict[str, Any]) -> None:
    answer = found["table"]
    assert [(one["name"], one["rows"]) for one in answer["splits"]] == [("train", 40), ("test", 4)]
    assert shapes(answer) == [
        ("picture", "image"),
        ("caption", "text"),
        ("kind", "class label", "even", "odd"),
        ("text", "text"),
    ]
    assert answer["used"] == {"image": "picture", "caption": "text", "label": "kind"}


def test_configurations(found: dict[str, Any]) -> None:
    assert found["two"]["configs"] == found["large"]["configs"] == ["small", "large"]
    assert (found["two"]["config"], found["large"]["config"]) == ("small", "large")
    assert [one["rows"] for one in found["two"]["splits"]] == [3]
    assert [one["rows"] for one in found["large"]["splits"]] == [11]


def test_folders_as_labels(found: dict[str, Any]) -> None:
    assert shapes(found["labels"]) == [("image", "image"), ("label", "class label", "cat", "dog")]
    assert found["labels"]["splits"][0]["rows"] == 6
    assert found["labels"]["used"]["label"] == "label"


def test_an_archive_of_pictures(found: dict[str, Any]) -> None:
    assert shapes(found["zipped"]) == [("image", "image"), ("text", "text")]
    assert found["zipped"]["splits"][0]["rows"] == 12


def test_columns_are_those_that_training_finds(found: dict[str, Any], hub_folders: Path) -> None:
    for name in ("folder", "labels", "zipped", "table"):
        folder = hub_folders / "sets" / name
        builder = "parquet" if name == "table" else "imagefolder"
        rows = datasets.load_dataset(builder, data_dir=str(folder), split="train")
        assert [column["name"] for column in found[name]["columns"]] == rows.column_names
        assert found[name]["splits"][0]["rows"] == len(rows)


def test_a_set_without_pictures_is_told_of(found: dict[str, Any]) -> None:
    for name in ("words", "numbers"):
        assert found[name]["used"] is None
    assert found["words"]["splits"] == [{"name": "train", "rows": None, "bytes": 24}]
    assert "cannot be looked into" in found["words"]["unused"]
    assert "'image' holds Value('int64'), not pictures" in found["numbers"]["unused"]


def test_a_gated_set_is_told_of_but_not_looked_into(found: dict[str, Any]) -> None:
    answer = found["gated"]
    assert (answer["gated"], answer["has_access"]) == (True, False)
    assert (answer["splits"], answer["columns"], answer["used"]) == ([], [], None)
    assert "conditions" in answer["unused"]
    assert answer["license"]["id"] == "mit"


def test_no_token_outlives_what_was_asked_with_it(hub: HubServer, home: Path) -> None:
    asked = [("describe_dataset", name) for name in ("table", "folder", "zipped")]
    calls = [*asked, ("preview", "folder"), ("describe_dataset", "numbers")]
    visit = ask(
        hub, home, *((to, {"repo_id": f"ada/{name}", "token": ADA}) for to, name in calls),
        ("kept", {"token": ADA}), HF_TOKEN=EVE,
    )  # fmt: skip
    assert visit.answers[-1] == {"times": 0}


def test_only_footers_are_fetched(signed_out: Visit) -> None:
    sizes = []
    for request in signed_out.fetched:
        first, _, last = request.headers["range"].removeprefix("bytes=").partition("-")
        sizes.append(int(last) - int(first) + 1)
    assert sum(sizes) < 200_000


def test_a_signed_out_visitor_never_uses_the_hosts_token(signed_out: Visit) -> None:
    assert not [request for request in signed_out.requests if "authorization" in request.headers]


def test_access_by_token(hub: HubServer, home: Path) -> None:
    hub.set_gated_access("ada", [("dataset", "lab/gated-folder")])
    calls: list[tuple[str, Any]] = [
        ("lab/gated-folder", ADA), ("lab/gated-folder", EVE), ("lab/gated-folder", None),
        ("ada/secret-folder", ADA), ("ada/secret-folder", EVE), ("ada/secret-folder", False),
    ]  # fmt: skip
    visit = ask(hub, home, *(("describe_dataset", {"repo_id": i, "token": t}) for i, t in calls))
    granted, stranger, host, own, *refused = visit.answers
    assert granted["has_access"] and granted["splits"][0]["rows"] == 12
    assert not stranger["has_access"] and stranger["splits"] == []
    assert host["has_access"]
    assert own["private"] and own["splits"][0]["rows"] == 12
    for answer in refused:
        assert "ada/secret-folder is not on the Hub or not readable" in words(answer)
    for request in visit.fetched:
        assert "authorization" not in request.headers


@pytest.fixture(scope="module")
def refusals(hub: HubServer, home: Path) -> dict[str, str]:
    calls = {
        "missing": {"repo_id": "ada/nothing"},
        "model": {"repo_id": "ada/tiny-sd"},
        "revision": {"repo_id": "ada/folder", "revision": "v9"},
        "config": {"repo_id": "ada/two", "config": "huge"},
        "builder": {"repo_id": "imagefolder"},
        "path": {"repo_id": "/etc"},
    }
    useless = ("script", "empty", "garbled", "torn-archive", "yaml", "endless", "many", "nested")
    for name in (*useless, *OUTSIDE, *(f"{name}-apart" for name in OUTSIDE)):
        calls[name] = {"repo_id": f"ada/{name}"}
    visit = ask(hub, home, *(("describe_dataset", one) for one in calls.values()))
    return dict(zip(calls, map(words, visit.answers), strict=True))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("missing", "dataset_name: ada/nothing is not on the Hub"),
        ("model", "ada/tiny-sd is a model, not a dataset"),
        ("revision", "dataset_revision: ada/folder has no revision 'v9'"),
        ("config", "dataset_config_name: ada/two has no configuration 'huge': It has: small"),
        ("builder", "An id is owner/name"),
        ("path", "An id is owner/name"),
        ("script", "a program of its own (script.py), which is never run"),
        ("empty", "ada/empty cannot be opened"),
        ("garbled", "a file of ada/garbled is broken"),
        ("yaml", "README.md of ada/yaml is not valid YAML"),
        ("endless", "ada/endless"),
        ("many", "names too many files"),
        ("nested", "names too many files"),
        ("torn-archive", "ada/torn-archive cannot be opened"),
        *((name, "takes data from outside the repository") for name in OUTSIDE),
        *((f"{name}-apart", "takes data from outside the repository") for name in OUTSIDE),
    ],
)
def test_refusals(refusals: dict[str, str], name: str, expected: str) -> None:
    assert expected in refusals[name]


def test_pictures_of_several_splits_are_counted() -> None:
    splits = (DatasetSplit("train", 40, None), DatasetSplit("test", 4, None))
    unknown = DatasetSplit("more", None, None)
    dataset = replace(NOTHING, splits=(*splits, unknown))
    assert dataset.count("train") == 40
    assert dataset.count("train+test") == dataset.count("test + train") == 44
    assert dataset.count("train[:10%]") is dataset.count("test+more") is None
    for split in ("dev", "train+dev", "dev[:5]", ""):
        with pytest.raises(UserError, match="It has: train, test, more"):
            dataset.count(split)
