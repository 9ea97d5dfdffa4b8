"""Sets as people have them: the page's description and preview say what training reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.data.archived import tar_of
from tests.hub.catalog import ask, words
from tests.hub_server import HubServer

pytestmark = pytest.mark.process

READ: dict[str, tuple[dict[str, str | None], int | None]] = {
    "pets": ({"image": "image", "caption": None, "label": "label"}, 6),
    "shards": ({"image": "png", "caption": "json.caption", "label": "cls"}, None),
    "texts": ({"image": "png", "caption": "txt", "label": None}, None),
    "blobs": ({"image": "blob", "caption": "text", "label": None}, 6),
    "structs": ({"image": "photo", "caption": "text", "label": None}, 6),
}
"""The columns that are used, and the rows that a description counts."""
NAMES_ONLY = {"addresses": "image_url", "outside-paths": "image"}


@pytest.fixture(scope="module")
def seen(hub: HubServer, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Any]:
    """The answer by function and set."""
    fields = {"describe_dataset": "repo_id", "preview": "repo_id", "read_for_training": "dataset"}
    asked = [(function, name) for function in fields for name in (*READ, *NAMES_ONLY)]
    home = tmp_path_factory.mktemp("home")
    visit = ask(hub, home, *((to, {fields[to]: f"ada/{name}"}) for to, name in asked))
    return dict(zip(asked, visit.answers, strict=True))


@pytest.mark.parametrize("name", READ)
def test_what_is_described_and_shown_is_what_is_read(
    seen: dict[tuple[str, str], Any], name: str
) -> None:
    columns, rows = READ[name]
    described, shown = seen["describe_dataset", name], seen["preview", name]
    read = seen["read_for_training", name]
    assert described["used"] == read["columns"] == columns
    assert described["unused"] is None
    assert [split["rows"] for split in described["splits"]] == [rows]
    assert [one["image"] for one in shown["shown"]] == read["pictures"]
    assert len(read["pictures"]) == 6
    assert shown["skipped"] == []
    if columns["caption"] is None:
        assert read["captions"] is None
    else:
        assert [one["caption"] for one in shown["shown"]] == read["captions"]
        assert read["captions"] == [f"number {i}" for i in range(6)]
    if columns["label"] is not None:
        assert sorted(read["labels"]) == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize(("name", "column"), NAMES_ONLY.items())
def test_what_names_pictures_only_is_refused_with_a_way_out(
    seen: dict[tuple[str, str], Any], name: str, column: str
) -> None:
    said = words(seen["read_for_training", name])
    assert said.startswith(f"image_column: '{column}' holds no pictures: it ")
    assert "train_data_dir" in said and "datasets.Image()" in said
    assert seen["describe_dataset", name]["used"] is None
    assert f"'{column}' holds no pictures: it " in seen["describe_dataset", name]["unused"]
    assert "datasets.Image()" in seen["describe_dataset", name]["unused"]


@pytest.mark.parametrize("offline", [False, True])
def test_a_card_reaches_no_shards_of_this_machine(
    hub: HubServer, tmp_path: Path, offline: bool
) -> None:
    private = tar_of(tmp_path / "private/private.tar", {"0.txt": "secret", "0.png": b"x"})
    card = f"---\nconfigs:\n- config_name: default\n  data_files: {private}\n---\n"
    (tmp_path / "set").mkdir()
    (tmp_path / "set/README.md").write_text(card)
    tar_of(tmp_path / "set/own.tar", {"0.png": b"x"})
    name = f"ada/reaching{offline:d}"
    hub.add_repo("dataset", name, tmp_path / "set")
    call = {"dataset": name}
    if offline:
        sha = ask(hub, tmp_path, ("download", call)).answers[0]["revision"]
        call["revision"] = sha
    env = {"HF_HUB_OFFLINE": "1"} if offline else {}
    said = words(ask(hub, tmp_path, ("read_for_training", call), **env).answers[0])
    assert said.startswith("dataset_name: ")
    assert ("takes data from elsewhere" if offline else "don't belong to") in said


def test_an_archived_set_goes_on_without_the_hub(
    hub: HubServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = tmp_path_factory.mktemp("home")
    calls = [{"dataset": f"ada/{name}"} for name in ("pets", "shards")]
    online = ask(hub, home, *(("read_for_training", call) for call in calls)).answers
    # As a run does that is resumed: its config holds the commit.
    pinned = [{**c, "revision": seen["revision"]} for c, seen in zip(calls, online, strict=True)]
    offline = ask(hub, home, *(("read_for_training", call) for call in pinned), HF_HUB_OFFLINE="1")
    assert offline.answers == online
    assert not offline.requests
