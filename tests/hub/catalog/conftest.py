"""The Hub that these tests ask: small pipelines and sets of pictures, good and bad."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.data import encode
from tests.data.archived import tar_of, zip_of
from tests.hub.catalog import ADA, EVE
from tests.hub_server import HubServer
from tests.tiny import ddpm_pipeline, image_folder, pictures, sd_pipeline

MODEL_CARD = """---
license: other
license_name: tiny-license
license_link: https://example.org/tiny
pipeline_tag: text-to-image
---
"""
PICTURES_CARD = "---\nlicense: mit\ntags: [modality:image]\nsize_categories: n<1K\n---\n"
TWO_CONFIGS = """---
tags: [modality:image]
configs:
- config_name: small
  data_files:
  - split: train
    path: small/*.parquet
- config_name: large
  data_files: large/*.parquet
---
"""


ARCHIVED = ("pets", "shards", "texts", "blobs", "structs", "addresses", "outside-paths")


@pytest.fixture(scope="session")
def hub_folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the repositories' files come from: models/<name>, sets/<name>."""
    return tmp_path_factory.mktemp("repos")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The caches of a module's children."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def hub(hub_folders: Path) -> Iterator[HubServer]:
    """The Hub, with Ada's and Eve's accounts."""
    root = hub_folders
    with HubServer() as server:
        server.add_user("ada", ADA)
        server.add_user("eve", EVE)
        add_models(server, root / "models")
        add_datasets(server, root / "sets")
        yield server


def add_models(server: HubServer, root: Path) -> None:
    sd = sd_pipeline(root / "sd")
    (sd / "README.md").write_text(MODEL_CARD)
    server.add_repo("model", "ada/tiny-sd", sd, downloads=50, likes=3, tags={"v1": sd})
    server.add_repo("model", "ada/secret-sd", sd, private=True, downloads=60)
    server.add_repo("model", "lab/gated-sd", sd, gated=True, downloads=90)
    ddpm = ddpm_pipeline(root / "ddpm", channels=3)
    (ddpm / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    server.add_repo("model", "ada/tiny-ddpm", ddpm, downloads=70)
    ddim = ddpm_pipeline(root / "ddim", kind="DDIMPipeline")
    server.add_repo("model", "bob/tiny-ddim", ddim, downloads=10)
    pickled = copy(sd, "pickled")
    weights = pickled / "unet/diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    server.add_repo("model", "ada/pickled-sd", pickled)
    custom = copy(sd, "custom")
    change_json(custom / "model_index.json", unet=["my_unet", "MyUNet"])
    (custom / "unet/my_unet.py").write_text("raise SystemExit('this must not run')\n")
    server.add_repo("model", "ada/custom-sd", custom)
    pipeline = copy(ddpm, "pipeline")
    change_json(pipeline / "model_index.json", _class_name=["pipeline", "MyPipeline"])
    server.add_repo("model", "ada/custom-pipeline", pipeline)
    chroma = copy(ddpm, "chroma")
    change_json(chroma / "model_index.json", _class_name="ChromaPipeline")
    server.add_repo("model", "ada/chroma", chroma)
    server.add_repo("model", "lab/gated-chroma", chroma, gated=True)
    odd = copy(ddpm, "odd")
    change_json(odd / "unet/config.json", down_block_types=7)
    server.add_repo("model", "ada/odd-ddpm", odd)
    garbled = copy(ddpm, "garbled")
    (garbled / "unet/diffusion_pytorch_model.safetensors").write_bytes(b"\xff" * 100)
    server.add_repo("model", "ada/garbled-ddpm", garbled)


def add_datasets(server: HubServer, root: Path) -> None:
    folder = image_folder(root / "folder", 12)
    card(folder, PICTURES_CARD)
    server.add_repo("dataset", "ada/folder", folder, downloads=9, likes=1)
    server.add_repo("dataset", "ada/secret-folder", folder, private=True, downloads=8)
    server.add_repo("dataset", "lab/gated-folder", folder, gated=True, downloads=7)
    table = parquet(root / "table/data/train-00000-of-00001.parquet", 40, size=256)
    parquet(root / "table/data/test-00000-of-00001.parquet", 4)
    assert table.stat().st_size > 5 * 2**20
    card(root / "table", PICTURES_CARD)
    server.add_repo("dataset", "ada/table", root / "table", downloads=30)
    parquet(root / "two/small/a.parquet", 3)
    parquet(root / "two/large/a.parquet", 5)
    parquet(root / "two/large/b.parquet", 6)
    card(root / "two", TWO_CONFIGS)
    server.add_repo("dataset", "ada/two", root / "two")
    for name, colour in {"cat": "red", "dog": "blue"}.items():
        for i in range(3):
            save(root / f"labels/train/{name}/{i}.png", colour)
    server.add_repo("dataset", "ada/labels", root / "labels")
    (root / "zipped").mkdir()
    with zipfile.ZipFile(root / "zipped/pictures.zip", "w") as archive:
        for file in [*sorted(folder.glob("*.png")), folder / "metadata.jsonl"]:
            archive.write(file, f"inside/{file.name}")
    server.add_repo("dataset", "ada/zipped", root / "zipped")
    server.add_repo("dataset", "ada/hostile", hostile(root / "hostile"))
    add_archived(server, root)
    add_useless(server, root)


def add_archived(server: HubServer, root: Path) -> None:
    """Sets as people have them: each with the same six pictures."""
    files = [encode(pixels) for pixels in pictures(6)]
    said = [f"number {i}" for i in range(6)]
    pets: dict[str, bytes | str] = {
        f"{'dog' if i % 2 else 'cat'}/{i}.png": file for i, file in enumerate(files)
    }
    zip_of(root / "pets/a/pets.zip", {**pets, "notes.txt": "hello", "__MACOSX/._0.png": "x"})
    for shard in range(2):
        named: dict[str, bytes | str] = {}
        for i in range(3 * shard, 3 * shard + 3):
            record = json.dumps({"caption": said[i], "exif": None if i < 2 else "x"})
            named |= {f"{i}.png": files[i], f"{i}.json": record, f"{i}.cls": str(i % 2)}
        tar_of(root / f"shards/train-{shard}.tar", named)
    tar_of(root / "texts/train.tar.gz",
           {f"{i}.{kind}": one for i in range(6)
            for kind, one in (("png", files[i]), ("txt", said[i]))})  # fmt: skip
    tables: dict[str, dict[str, Any]] = {
        "blobs": {"blob": files, "text": said},
        "structs": {"photo": [{"bytes": file, "path": "a.png"} for file in files], "text": said},
        "addresses": {
            "image_url": [f"https://example.org/{i}.png" for i in range(6)],
            "text": said,
        },
        "outside-paths": {"image": [{"bytes": None, "path": f"{i}.png"} for i in range(6)]},
    }
    kinds = pa.schema([("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())]))])
    for name, rows in tables.items():
        (root / name).mkdir()
        schema = kinds if name == "outside-paths" else None
        pq.write_table(pa.table(rows, schema=schema), root / name / "train.parquet")
    for name in ARCHIVED:
        server.add_repo("dataset", f"ada/{name}", root / name)


def hostile(folder: Path) -> Path:
    """Pictures that are broken, huge once decoded, elsewhere, or cannot be had."""
    save(folder / "good.png", "red")
    (folder / "broken.png").write_bytes((folder / "good.png").read_bytes()[:40])
    (folder / "bomb.png").write_bytes(bomb())
    names = ["good.png", "broken.png", "bomb.png", "../../../etc/passwd", "/etc/passwd",
             "file:///etc/passwd", "nothing.png", "sub/../good.png"]  # fmt: skip
    lines = [json.dumps({"file_name": name, "text": f"row of {name}"}) for name in names]
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def add_useless(server: HubServer, root: Path) -> None:
    def add(name: str, *files: tuple[str, str | bytes]) -> None:
        for path, content in files:
            place = root / name / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content.encode() if isinstance(content, str) else content)
        server.add_repo("dataset", f"ada/{name}", root / name)

    script = "raise SystemExit('this must not run')\n"
    add("script", ("script.py", script))
    add("words", ("data.jsonl", '{"text": "no pictures"}\n'))
    add("empty", ("README.md", "nothing here"))
    add("garbled", ("train.parquet", b"PAR1" + b"\xff" * 64 + b"PAR1"))
    add("yaml", ("README.md", "---\n: [\n---\n"), ("train.parquet", b""))
    endless = "a: &a [b.png, *a]\nconfigs:\n- config_name: x\n  data_files: *a\n"
    add("endless", (".huggingface.yaml", endless), ("a.png", b""))
    nine = "[" + ", ".join(["*a"] * 999) + "]"
    many = f"a: &a [{', '.join('x' * 999)}]\nconfigs:\n- config_name: x\n  data_files: {nine}\n"
    add("many", (".huggingface.yaml", many), ("a.png", b""))
    nested = (
        f"a: &a [{', '.join(['[]'] * 999)}]\nconfigs:\n- config_name: x\n  data_files: {nine}\n"
    )
    add("nested", (".huggingface.yaml", nested), ("a.png", b""))
    add("torn-archive", ("pictures.zip", b"PK\x03\x04 and nothing more"))
    own = str(root / "folder/*.png")
    configs = {
        "outside": f"data_files: {own}",
        "in-list": f"data_files: [good.png, {own}]",
        "above": "data_files: [{split: train, path: [../x/*.png]}]",
        "folder-above": "data_dir: data/../..",
        "elsewhere": "data_files: 'https://example.org/a.parquet'",
        "linked": f"data_files: 'zip://*.png::{own}'",
    }
    for name, line in configs.items():
        text = f"configs:\n- config_name: default\n  {line}\n"
        add(name, ("README.md", f"\n---\n{text}---\n"), ("a.png", b""))
        # The library reads this file over the card.
        add(f"{name}-apart", (".huggingface.yaml", text), ("a.png", b""))
    paths = pa.table({"image": [{"bytes": None, "path": str(root / "folder/0000.png")}]})
    pq.write_table(paths, root / "paths.parquet")
    add("paths", ("train.parquet", (root / "paths.parquet").read_bytes()))
    lies = "dataset_info:\n  features:\n  - {name: image, dtype: image}\n"
    pq.write_table(pa.table({"image": [7]}), root / "numbers.parquet")
    numbers = (root / "numbers.parquet").read_bytes()
    add("lies", ("README.md", f"---\n{lies}---\n"), ("train.parquet", numbers))
    add("numbers", ("train.parquet", numbers))


def copy(folder: Path, name: str) -> Path:
    return Path(shutil.copytree(folder, folder.parent / name))


def change_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def card(folder: Path, text: str) -> None:
    (folder / "README.md").write_text(text)


def save(path: Path, colour: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (6, 4), colour).save(path)


def parquet(path: Path, count: int, size: int = 8) -> Path:
    """Pictures of noise, which does not compress, with captions and labels, in one row group."""
    path.parent.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    rows = {
        "picture": [
            Image.fromarray(generator.integers(0, 256, (size, size, 3), dtype=np.uint8))
            for _ in range(count)
        ],
        "caption": [[f"caption {i}", "another"] for i in range(count)],
        "kind": [i % 2 for i in range(count)],
        "text": [f"text {i}" for i in range(count)],
    }
    features = datasets.Features(
        {
            "picture": datasets.Image(),
            "caption": datasets.List(datasets.Value("string")),
            "kind": datasets.ClassLabel(names=["even", "odd"]),
            "text": datasets.Value("string"),
        }
    )
    datasets.Dataset.from_dict(rows, features=features).to_parquet(path, batch_size=count)
    return path


def bomb() -> bytes:
    """A picture of a few hundred kilobytes that would take gigabytes."""
    file = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(file, "PNG")
    return file.getvalue()
