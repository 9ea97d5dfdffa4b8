"""What the real clients read, in child processes: lists, models, pipelines, datasets."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hub_server.asking import since, visit
from tests.hub_server.blobs import Blob
from tests.hub_server.filling import Filled

pytestmark = pytest.mark.process


def test_lists(filled: Filled, tmp_path: Path) -> None:
    mark = len(filled.hub.requests)
    seen = visit(filled.hub, "lists", tmp_path)
    public = ["ada/tiny", "ada/gated", "bob/plain", "bob/last"]
    assert seen["all"] == public
    assert seen["limit"] == public[:3]
    assert seen["search"] == seen["two_filters"] == ["ada/tiny"]
    assert seen["author"] == ["bob/plain", "bob/last"]
    assert seen["no_match"] == []
    assert seen["gated"] == ["ada/gated"]
    assert seen["by_downloads"] == [7, 5, 3, 0]
    assert seen["newest"] == "bob/last"
    assert seen["expand"] == filled.shas["tiny"]
    assert seen["diffusers"]["id"] == "ada/tiny"
    assert "unet/config.json" in seen["diffusers"]["files"]
    assert seen["diffusers"]["config"] == {"diffusers": {"_class_name": "DDPMPipeline"}}
    assert seen["datasets"] == ["ada/rows", "ada/pictures"]
    paths = [request.path for request in since(filled.hub, mark, "hub")]
    assert {"/api/models?cursor=2", "/api/models?limit=3&cursor=2"} <= set(paths)


def test_model(filled: Filled, tmp_path: Path) -> None:
    seen = visit(filled.hub, "model", tmp_path)
    folder = filled.folders["tiny"]
    sizes = {
        file.relative_to(folder).as_posix(): file.stat().st_size
        for file in folder.rglob("*")
        if file.is_file()
    }
    assert seen["sha"] == seen["tag_sha"] == filled.shas["tiny"]
    assert seen["library"] == "diffusers"
    assert seen["license"] == "mit"
    assert {"toy", "made-by-code", "dataset:ada/rows", "diffusers:DDPMPipeline"} <= set(
        seen["tags"]
    )
    weights = Blob((folder / "unet/diffusion_pytorch_model.safetensors").read_bytes(), True)
    assert seen["lfs"] == {"size": weights.size, "sha256": weights.sha256}
    assert seen["tree"] == sorted([*sizes, "scheduler", "unet"])
    assert seen["unet"] == ["RepoFile", "RepoFile"]
    assert seen["dated"]
    assert seen["branches"] == ["main", "old"]
    assert seen["tag_names"] == ["v1"]
    assert seen["paths"] == ["unet", "README.md"]
    assert seen["snapshot"] == sizes
    assert seen["old"] == "an older card"
    assert seen["exists"] and not seen["missing"]


def test_pipeline(filled: Filled, tmp_path: Path) -> None:
    seen = visit(filled.hub, "pipeline", tmp_path)
    assert seen == {"class": "DDPMPipeline", "sum": pytest.approx(filled.pipeline_sum)}


def test_datasets(filled: Filled, tmp_path: Path) -> None:
    mark = len(filled.hub.requests)
    seen = visit(filled.hub, "data", tmp_path, token="hf_ada")
    assert seen["rows"] == seen["streamed"] == ["a", "b", "c"]
    assert seen["private"] == ["my", "secrets"]
    assert seen["captions"] == {"red": [255, 0, 0], "green": [0, 255, 0], "blue": [0, 0, 255]}
    assert seen["first_caption"] in seen["captions"]
    assert seen["first_size"] == [6, 4]
    assert seen["missing"] == "DatasetNotFoundError"
    assert seen["magic"] == "PAR1"
    # The token goes with requests to the Hub and with none to where the content lies.
    to_hub, to_content = (since(filled.hub, mark, origin) for origin in ("hub", "content"))
    assert all(request.headers["authorization"] == "Bearer hf_ada" for request in to_hub)
    assert to_content and not any("authorization" in request.headers for request in to_content)
    assert any("range" in request.headers for request in to_content)
    assert {request.port for request in to_hub}.isdisjoint(request.port for request in to_content)
