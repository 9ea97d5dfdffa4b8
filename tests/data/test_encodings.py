"""Cached encodings against those of the encoders, on disk and after an interruption."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from memshield.config.file import Config
from memshield.data import encodings
from memshield.data.batches import MicroBatch, PictureReader, ShardBatches, captions_of
from memshield.data.buckets import Buckets
from memshield.data.encodings import (
    EncodedCaptions,
    EncodedExamples,
    EncodingStore,
    LiveEncoder,
)
from memshield.data.examples import Examples
from memshield.data.scan import scan
from memshield.data.source import SourceSettings, open_source
from memshield.families import load, read_facts, resolve
from memshield.families.base import Encoded, Family, Placement
from tests.bucket_twin import BUCKETS, shaped_folder
from tests.data import save_set, settings
from tests.tiny import Pixels, pictures

CAPTIONS = ["a cat", "a dog", "a cat", "", "a cat", "a bird", "a dog", "a fish"]


@pytest.fixture(scope="module")
def family(tiny_sd: Path) -> Family:
    config = settings("unused", pretrained_model_name_or_path=str(tiny_sd))
    facts = read_facts(config)
    placement = Placement(torch.device("cpu"), torch.float32)
    return load(resolve(config, facts), facts, placement)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEMSHIELD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@dataclass(frozen=True)
class Opened:
    """A dataset, ready to be encoded."""

    config: Config
    examples: Examples
    reader: PictureReader
    captions: Sequence[str] | None

    def encoded(self, family: Family) -> EncodedExamples:
        return EncodedExamples(self.config, family, self.examples, self.reader, self.captions)


def opened(
    folder: Path,
    stored: Sequence[Pixels],
    captions: Sequence[str] | None = CAPTIONS,
    **changes: Any,
) -> Opened:
    columns = {} if captions is None else {"text": captions}
    config = settings(save_set(folder, stored, **columns), **{"resolution": 16, **changes})
    source = open_source(SourceSettings.of(config))
    examples = scan(config, source).examples
    resolution = config.resolution or 0
    reader = PictureReader(source, examples, 3, resolution, config.center_crop)
    return Opened(config, examples, reader, captions_of(source, examples))


def stores(cache: Path) -> dict[str, list[Encoded]]:
    """What every folder of the cache holds, part by part."""
    return {
        folder.name: [load_file(part / "rows.safetensors") for part in sorted(folder.iterdir())]
        for folder in sorted((cache / "encodings").iterdir())
    }


def rows_of(cache: Path, name: str) -> int:
    """Rows kept of one kind of tensor, over all folders."""
    parts = [part for store in stores(cache).values() for part in store]
    return sum(len(part[name]) for part in parts if name in part)


# Cached and live


@pytest.mark.parametrize("captions", [CAPTIONS, None])
@pytest.mark.parametrize("center_crop", [True, False])
def test_cached_encodings_equal_live_ones(
    tmp_path: Path,
    cache: Path,
    family: Family,
    captions: Sequence[str] | None,
    center_crop: bool,
) -> None:
    size = 20 if center_crop else 16
    stored = [pixels[:16] for pixels in pictures(8, size)]
    data = opened(
        tmp_path / "set",
        stored,
        captions,
        random_flip=True,
        center_crop=center_crop,
        proportion_empty_prompts=0.3,
        train_batch_size=3,
    )
    cached, live = data.encoded(family), LiveEncoder(family, data.captions)
    kinds = {"moments"} | ({"text"} if captions else set())
    orientations, empty = set(), set()
    for shard in (0, 1):
        of_cache = ShardBatches(data.config, data.examples, shard, None)
        of_pixels = ShardBatches(data.config, data.examples, shard, data.reader)
        for step in range(8):
            for short, full in zip(of_cache[step], of_pixels[step], strict=True):
                found, expected = cached.encode(short), live.encode(full)
                assert set(found) == set(expected) == kinds
                for name, tensor in expected.items():
                    assert found[name].dtype == tensor.dtype
                    assert torch.allclose(found[name], tensor, atol=1e-5), name
                orientations |= {
                    (int(i), bool(flip)) for i, flip in zip(full.index, full.flip, strict=True)
                }
                empty |= set(full.empty.tolist())
    assert empty == {True, False}
    assert len(orientations) == 16


def test_pictures_of_each_bucket_are_kept_by_themselves(
    tmp_path: Path, cache: Path, family: Family
) -> None:
    folder = shaped_folder(tmp_path / "set")
    values: dict[str, Any] = {"aspect_ratio_buckets": BUCKETS, "center_crop": True}
    config = settings("-", **values, resolution=16, random_flip=True)
    config = config.model_copy(update={"dataset_name": None, "train_data_dir": str(folder)})
    source = open_source(SourceSettings.of(config))
    examples = scan(config, source).examples
    buckets = Buckets.of(config, examples)
    assert buckets is not None
    reader = PictureReader(source, examples, 3, 16, True, buckets)
    cached = EncodedExamples(config, family, examples, reader, None)
    live = LiveEncoder(family, None)
    kept = {part["moments"].shape[2:]: len(part["moments"]) for (part,) in stores(cache).values()}
    assert kept == {(8, 8): 28, (12, 6): 16, (6, 12): 16}, "both ways round, by size"
    seen = set()
    for shard in (0, 1):
        of_cache = ShardBatches(config, examples, shard, None)
        of_pixels = ShardBatches(config, examples, shard, reader)
        for step in range(16):
            (short,), (full,) = of_cache[step], of_pixels[step]
            found, expected = cached.encode(short)["moments"], live.encode(full)["moments"]
            assert torch.allclose(found, expected, atol=1e-5)
            seen |= set(zip(full.index.tolist(), full.flip.tolist(), strict=True))
    assert len(seen) > 30
    # Another choice of sizes finds what it needs of these again.
    other = config.model_copy(update={"aspect_ratio_buckets": "16,16;24,12"})
    found_again = Buckets.of(other, examples)
    assert found_again is not None
    reader = PictureReader(source, examples, 3, 16, True, found_again)
    EncodedExamples(other, family, examples, reader, None)
    assert len(stores(cache)) == 4


def test_both_orientations_are_kept_where_flips_are_random(
    tmp_path: Path, cache: Path, family: Family
) -> None:
    opened(tmp_path / "set", pictures(8), random_flip=True).encoded(family)
    assert rows_of(cache, "moments") == 16
    shutil.rmtree(cache)
    opened(tmp_path / "other", pictures(8)).encoded(family)
    assert rows_of(cache, "moments") == 8


def test_equal_captions_are_kept_once(tmp_path: Path, cache: Path, family: Family) -> None:
    opened(tmp_path / "set", pictures(8)).encoded(family)
    assert rows_of(cache, "text") == 5


def test_the_empty_caption_is_always_kept(tmp_path: Path, cache: Path, family: Family) -> None:
    data = opened(tmp_path / "set", pictures(8), ["a cat"] * 8, proportion_empty_prompts=1)
    batch = ShardBatches(data.config, data.examples, 0, None)[0][0]
    found = data.encoded(family).encode(batch)["text"]
    assert torch.allclose(found, family.encode_captions(["", ""])["text"], atol=1e-5)


def test_only_members_are_kept(tmp_path: Path, cache: Path, family: Family) -> None:
    captions = [f"caption {i}" for i in range(8)]
    data = opened(tmp_path / "set", pictures(8), captions, held_out_fraction=0.25)
    assert len(data.examples.members()) == 6
    data.encoded(family)
    assert rows_of(cache, "moments") == 6
    assert rows_of(cache, "text") == 7


@pytest.mark.parametrize("kind", ["tiny_z_image", "tiny_qwen_image", "tiny_krea2"])
def test_captions_are_kept_at_their_own_lengths(
    request: pytest.FixtureRequest, tmp_path: Path, cache: Path, kind: str
) -> None:
    base = str(request.getfixturevalue(kind))
    texts = ["a cat", "two dogs in the snow", "", "a red fox"] * 2
    data = opened(
        tmp_path / "set", pictures(8), texts, pretrained_model_name_or_path=base, train_batch_size=2
    )
    facts = read_facts(data.config)
    config = resolve(data.config, facts)
    text_model = load(config, facts, Placement(torch.device("cpu"), torch.float32))
    encoded = EncodedCaptions(config, text_model, data.examples, texts)
    never = np.zeros(3, dtype=np.bool_)
    for rows in ([0, 1, 2], [3, 3, 0], [2, 2, 6]):
        found = encoded.of(MicroBatch(np.array(rows), never, never))
        # As wide as the longest of this batch, not of all.
        expected = text_model.encode_captions([texts[row] for row in rows])
        assert torch.equal(found["mask"], expected["mask"])
        assert torch.allclose(found["text"], expected["text"], atol=1e-5)
    tokens = sum(int(text_model.encode_captions([text])["mask"].sum()) for text in set(texts))
    (kept,) = [part for store in stores(cache).values() for part in store]
    assert kept["text"].shape[0] == tokens
    assert kept.keys() == {"text", "lengths"}


# Where, and under which name


def test_encodings_are_kept_in_the_named_folder_only(
    tmp_path: Path, cache: Path, family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = opened(tmp_path / "set", pictures(8))
    monkeypatch.setenv("MEMSHIELD_CACHE", str(tmp_path / "elsewhere"))
    before = {path.name for path in tmp_path.iterdir()}
    data.encoded(family)
    assert {path.name for path in tmp_path.iterdir()} - before == {"elsewhere"}
    assert len(stores(tmp_path / "elsewhere")) == 2


def test_what_was_encoded_once_is_found_again(tmp_path: Path, cache: Path, family: Family) -> None:
    opened(tmp_path / "set", pictures(8)).encoded(family)
    before = written(cache)
    changes: dict[str, Any] = {"learning_rate": 1e-3, "proportion_empty_prompts": 0.5, "seed": 1}
    opened(tmp_path / "copy", pictures(8), **changes).encoded(family)
    assert written(cache) == before


def written(cache: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file()}


def test_other_pictures_crops_and_tilings_have_other_names(
    tmp_path: Path, cache: Path, family: Family
) -> None:
    other = pictures(8)
    other[3] = other[3][:, ::-1].copy()
    cases: list[tuple[list[Pixels], dict[str, Any]]] = [
        (pictures(8), {}),
        (other, {}),
        (pictures(8), {"resolution": 8}),
        (pictures(8), {"random_flip": True}),
        (pictures(8), {"center_crop": True}),
        (pictures(8)[::-1], {}),
        (pictures(8), {"enable_vae_tiling": True}),
    ]
    for number, (stored, changes) in enumerate(cases, start=1):
        opened(tmp_path / str(number), stored, None, **changes).encoded(family)
        assert len(stores(cache)) == number


# Interruptions


def test_a_lost_part_is_encoded_again(tmp_path: Path, cache: Path, family: Family) -> None:
    data = opened(tmp_path / "set", pictures(8))
    batch = ShardBatches(data.config, data.examples, 0, None)[0][0]
    expected = data.encoded(family).encode(batch)
    before = written(cache)
    pictures_part = next(part for part in before if "moments" in load_file(part))
    shutil.rmtree(pictures_part.parent)
    again = data.encoded(family).encode(batch)
    for name, tensor in expected.items():
        assert torch.equal(again[name], tensor)
    kept = {part: time for part, time in written(cache).items() if part != pictures_part}
    assert kept == {part: time for part, time in before.items() if part != pictures_part}


class Squares:
    """Encodes row r as r^2 and remembers what it was asked for."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.asked: list[range] = []
        self._stop_at = stop_at

    def __call__(self, rows: range) -> Encoded:
        self.asked.append(rows)
        if self._stop_at is not None and self._stop_at in rows:
            raise KeyboardInterrupt
        numbers = torch.tensor(list(rows))
        return {"square": (numbers**2)[:, None], "row": numbers[:, None].float()}


def assert_squares(store: EncodingStore, rows: Sequence[int]) -> None:
    found = store.read(rows)
    assert found["square"].tolist() == [[row**2] for row in rows]
    assert found["row"].tolist() == [[float(row)] for row in rows]


def test_rows_are_read_from_any_part(tmp_path: Path) -> None:
    store = EncodingStore(tmp_path / "store", 600)
    encode = Squares()
    store.fill(encode, "test")
    assert [row for rows in encode.asked for row in rows] == list(range(600))
    assert_squares(store, np.random.default_rng(0).permutation(600).tolist())
    assert_squares(store, [599, 0, 255, 256, 511, 512, 0])


def test_an_interrupted_filling_goes_on(tmp_path: Path) -> None:
    interrupted = Squares(stop_at=300)
    with pytest.raises(KeyboardInterrupt):
        EncodingStore(tmp_path / "store", 600).fill(interrupted, "test")
    assert len(list((tmp_path / "store").iterdir())) == 1
    resumed = Squares()
    store = EncodingStore(tmp_path / "store", 600)
    store.fill(resumed, "test")
    assert resumed.asked == [range(256, 512), range(512, 600)]
    assert_squares(store, range(600))


def test_a_deleted_part_is_filled_again(tmp_path: Path) -> None:
    store = EncodingStore(tmp_path / "store", 600)
    store.fill(Squares(), "test")
    shutil.rmtree(sorted((tmp_path / "store").iterdir())[1])
    again = Squares()
    store = EncodingStore(tmp_path / "store", 600)
    store.fill(again, "test")
    assert again.asked == [range(256, 512)]
    assert_squares(store, range(600))


def test_the_progress_bar_counts_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bars = []

    class Bar(encodings.tqdm):  # type: ignore[misc, name-defined]
        def close(self) -> None:
            bars.append((self.total, self.n))
            super().close()

    monkeypatch.setattr(encodings, "tqdm", Bar)
    for count in (40, 300):
        store = EncodingStore(tmp_path / str(count), count)
        store.fill(lambda rows: {"x": torch.zeros(len(rows))}, "Encoding pictures")
        assert set(bars) == {(count, count)}
        bars.clear()
