"""What child processes do with the real clients: each function is one visit to the Hub.

    python -m tests.hub_server.visits NAME

prints what the visit saw as one line of JSON. A process of its own, because the clients read
HF_ENDPOINT when they are imported.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from huggingface_hub import (
    HfApi,
    HfFileSystem,
    ModelCard,
    hf_hub_download,
    snapshot_download,
)
from huggingface_hub.errors import HfHubHTTPError

Seen = dict[str, object]


def lists() -> Seen:
    """Both lists in all their variants; the pages are turned by the client."""
    api = HfApi()
    diffusers = next(iter(api.list_models(filter="diffusers", full=True, fetch_config=True)))
    return {
        "all": [model.id for model in api.list_models()],
        "limit": [model.id for model in api.list_models(limit=3)],
        "search": [model.id for model in api.list_models(search="TINY")],
        "author": [model.id for model in api.list_models(author="bob")],
        "two_filters": [model.id for model in api.list_models(filter=["diffusers", "toy"])],
        "no_match": [model.id for model in api.list_models(filter=["diffusers", "nothing"])],
        "gated": [model.id for model in api.list_models(gated=True)],
        "by_downloads": [model.downloads for model in api.list_models(sort="downloads")],
        "newest": next(iter(api.list_models(sort="created_at"))).id,
        "expand": next(iter(api.list_models(search="tiny", expand=["likes", "sha"]))).sha,
        "diffusers": {
            "id": diffusers.id,
            "files": [file.rfilename for file in diffusers.siblings or []],
            "config": diffusers.config,
        },
        "datasets": [dataset.id for dataset in api.list_datasets(full=True)],
    }


def model() -> Seen:
    """Everything that can be asked about one model, and its files."""
    api = HfApi()
    info = api.model_info("ada/tiny", files_metadata=True)
    weights = next(file for file in info.siblings or [] if file.rfilename.endswith("tensors"))
    tree = list(api.list_repo_tree("ada/tiny", recursive=True))
    expanded = list(api.list_repo_tree("ada/tiny", "unet", expand=True))
    refs = api.list_repo_refs("ada/tiny")
    snapshot = Path(snapshot_download("ada/tiny"))
    old = hf_hub_download("ada/tiny", "README.md", revision="old")
    card = info.card_data
    return {
        "sha": info.sha,
        "tag_sha": api.model_info("ada/tiny", revision="v1").sha,
        "library": info.library_name,
        "license": card and card.license,
        "tags": info.tags,
        "lfs": weights.lfs and {"size": weights.lfs.size, "sha256": weights.lfs.sha256},
        "tree": [entry.path for entry in tree],
        "unet": [type(entry).__name__ for entry in expanded],
        "dated": all(entry.last_commit is not None for entry in expanded),
        "branches": sorted(ref.name for ref in refs.branches),
        "tag_names": [ref.name for ref in refs.tags],
        "paths": [path.path for path in api.get_paths_info("ada/tiny", ["unet", "x", "README.md"])],
        "snapshot": {
            file.relative_to(snapshot).as_posix(): len(file.read_bytes())
            for file in snapshot.rglob("*")
            if file.is_file()
        },
        "old": Path(old).read_text(),
        "exists": api.file_exists("ada/tiny", "model_index.json"),
        "missing": api.file_exists("ada/tiny", "nothing.json"),
    }


def pipeline() -> Seen:
    """A pipeline as a user loads one."""
    from diffusers import DiffusionPipeline

    pipe = DiffusionPipeline.from_pretrained("ada/tiny", revision="v1")
    return {
        "class": type(pipe).__name__,
        "sum": sum(float(weight.detach().double().sum()) for weight in pipe.unet.parameters()),
    }


def data() -> Seen:
    """Datasets, downloaded and streamed, public and private."""
    from datasets import load_dataset
    from datasets.exceptions import DatasetNotFoundError

    rows = load_dataset("ada/rows", split="train")
    streamed = load_dataset("ada/rows", split="train", streaming=True)
    pictures = load_dataset("ada/pictures", split="train")
    first_picture = next(iter(load_dataset("ada/pictures", split="train", streaming=True)))
    private = load_dataset("ada/diary", split="train")
    try:
        load_dataset("ada/nothing")
        missing = "loaded"
    except DatasetNotFoundError as error:
        missing = type(error).__name__
    with HfFileSystem().open("datasets/ada/rows/data/train-0.parquet", block_size=64) as file:
        file.seek(-4, 2)
        magic = file.read(4)
    return {
        "rows": list(rows["text"]),
        "streamed": [row["text"] for row in streamed],
        "captions": {row["text"]: row["image"].getpixel((0, 0)) for row in pictures},
        "first_caption": first_picture["text"],
        "first_size": first_picture["image"].size,
        "private": list(private["text"]),
        "missing": missing,
        "magic": magic.decode(),
    }


def refusals() -> Seen:
    """The class and status of the error that each forbidden or mistaken call ends in, under the
    token of the environment or without one."""
    api = HfApi()
    calls: dict[str, Callable[[], object]] = {
        "private": lambda: api.model_info("ada/secret"),
        "private_file": lambda: hf_hub_download("ada/secret", "config.json"),
        "private_snapshot": lambda: snapshot_download("ada/secret"),
        "gated_info": lambda: api.model_info("ada/gated"),
        "gated_file": lambda: hf_hub_download("ada/gated", "model.safetensors"),
        "gated_check": lambda: api.auth_check("ada/gated"),
        "missing": lambda: api.model_info("ada/nothing"),
        "missing_file": lambda: hf_hub_download("ada/tiny", "nothing.json"),
        "missing_folder": lambda: list(api.list_repo_tree("ada/tiny", "nothing")),
        "revision": lambda: api.model_info("ada/tiny", revision="v9"),
        "revision_file": lambda: hf_hub_download("ada/tiny", "README.md", revision="v9"),
        "revision_snapshot": lambda: snapshot_download("ada/tiny", revision="v9"),
        "whoami": lambda: api.whoami(),
        "listed": lambda: [model.id for model in api.list_models(search="secret")],
    }
    seen: Seen = {}
    for name, call in calls.items():
        try:
            result = call()
            seen[name] = result if isinstance(result, list) else "ok"
        except HfHubHTTPError as error:
            seen[name] = f"{type(error).__name__} {error.response.status_code}"
        except OSError as error:  # whoami without any token does not reach the Hub
            seen[name] = type(error).__name__
    return seen


def publish() -> Seen:
    """A run's way to the Hub: repo, folder, card, tag; and the way back."""
    api = HfApi()
    url = api.create_repo("ada/new", private=True)
    again = api.create_repo("ada/new", private=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "unet").mkdir()
        (Path(folder) / "unet" / "weights.safetensors").write_bytes(b"weights")
        (Path(folder) / "config.json").write_text("{}")
        uploaded = api.upload_folder(repo_id="ada/new", folder_path=folder)
    ModelCard("---\nlicense: mit\n---\n# New\n").push_to_hub("ada/new")
    api.create_tag("ada/new", tag="v1", tag_message="first")
    info = api.model_info("ada/new", revision="v1")
    return {
        "url": str(url),
        "again": again == url,
        "repo": uploaded.repo_url.repo_id,
        "uploaded": uploaded.oid,
        "tagged": info.sha,
        "license": info.card_data and info.card_data.license,
        "titles": [commit.title for commit in api.list_repo_commits("ada/new")],
        "weights": Path(hf_hub_download("ada/new", "unet/weights.safetensors")).read_text(),
    }


VISITS: dict[str, Callable[[], Seen]] = {
    visit.__name__: visit for visit in (lists, model, pipeline, data, refusals, publish)
}

if __name__ == "__main__":
    print(json.dumps(VISITS[sys.argv[1]]()))
