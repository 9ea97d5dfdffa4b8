"""Nearest training pictures against a plain search, where it is easy and where it is not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from memshield.audit.search import neighbours
from memshield.audit.search.distances import Features, Pixels, block_distances, block_of
from memshield.audit.search.neighbours import Neighbours, nearest

Floats = npt.NDArray[np.float64]
CPU = torch.device("cpu")


def all_distances(queries: Any, training: Any) -> Floats:
    """[Q, N] from differences in float64, in squared pixels of [0, 1] or squared features."""
    unit = 255.0 if queries.dtype == np.uint8 else 1.0
    a = queries.reshape(len(queries), -1).astype(np.float64)
    b = training.reshape(len(training), -1).astype(np.float64)
    rows = [np.square(row - b).sum(axis=1) / unit**2 for row in a]
    return np.stack(rows) if rows else np.empty((0, len(training)))


def plain_search(
    queries: Any,
    training: Any,
    k: int,
    *,
    mirrored: bool = False,
    groups: npt.NDArray[np.int64] | None = None,
    exclude: npt.NDArray[np.int64] | None = None,
    crop_of: npt.NDArray[np.int64] | None = None,
) -> Neighbours:
    """The naive twin: all distances, and one query after the other."""

    def measured(some: Any) -> Floats:
        distances = all_distances(some, training)
        if crop_of is None:
            return distances
        pictures = range(int(crop_of.max(initial=-1)) + 1)
        return np.stack([distances[:, crop_of == i].min(axis=1) for i in pictures], axis=1)

    distances = measured(queries)
    flipped = np.zeros(distances.shape, np.bool_)
    if mirrored:
        other = measured(np.ascontiguousarray(queries[..., ::-1]))
        flipped = other < distances
        distances = np.minimum(distances, other)
    index = np.full((len(queries), k), -1)
    distance = np.full((len(queries), k), np.inf)
    flags = np.zeros(len(queries), np.bool_)
    for row, values in enumerate(distances):
        chosen: list[int] = []
        for i in np.lexsort((np.arange(len(values)), values)).tolist():
            if groups is not None and exclude is not None and groups[i] == exclude[row]:
                continue
            if groups is not None and chosen and groups[i] == groups[chosen[0]]:
                continue
            chosen.append(i)
            if len(chosen) == k:
                break
        index[row, : len(chosen)] = chosen
        distance[row, : len(chosen)] = values[chosen]
        flags[row] = bool(chosen) and flipped[row, chosen[0]]
    return Neighbours(index, distance, flags)


def assert_same(found: Neighbours, expected: Neighbours, rtol: float = 1e-12) -> None:
    assert found.index.dtype == np.int64
    assert found.distance.dtype == np.float64
    np.testing.assert_array_equal(found.index, expected.index)
    np.testing.assert_allclose(found.distance, expected.distance, rtol=rtol)
    np.testing.assert_array_equal(found.mirrored, expected.mirrored)


def random_case(seed: int) -> tuple[Any, Any, dict[str, Any]]:
    """Queries, training set and arguments of any kind; many with ties and small budgets."""
    rng = np.random.default_rng(seed)
    count, size, k = rng.integers(1, 30), rng.integers(1, 200), int(rng.integers(1, 60))
    case: dict[str, Any] = {"k": k}
    if rng.random() < 0.5:
        shape = (rng.choice([1, 3]), rng.integers(1, 7), rng.integers(1, 7))
        # Few grey levels, so that many distances are equal.
        levels = int(rng.choice([2, 256]))
        queries = rng.integers(0, levels, (count, *shape), dtype=np.uint8)
        training = rng.integers(0, levels, (size, *shape), dtype=np.uint8)
        case["mirrored"] = bool(rng.random() < 0.5)
        if rng.random() < 0.5:
            # Of one crop to several each; the rows stay as many as they were.
            counts = rng.integers(1, int(rng.choice([3, 40])), size)
            case["crop_of"] = np.repeat(np.arange(size), counts)[:size]
    else:
        width = int(rng.integers(1, 20))
        draw = rng.normal if rng.random() < 0.5 else lambda size: rng.integers(-1, 2, size)
        queries = draw(size=(count, width)).astype(np.float32)
        training = draw(size=(size, width)).astype(np.float32)
    if rng.random() < 0.5:
        # Copies of training pictures among the queries, and twice in the training set.
        queries[: len(training)] = training[: len(queries)]
        training[size // 2 :] = training[: size - size // 2]
    pictures = int(case["crop_of"].max()) + 1 if "crop_of" in case else size
    if rng.random() < 0.6:
        case["groups"] = rng.integers(-2, int(rng.choice([1, 3, 100])), pictures)
        if rng.random() < 0.5:
            case["exclude"] = rng.integers(-3, 100, count)
    return queries, training, case


@pytest.mark.parametrize(
    ("memory", "seeds"),
    [(1, range(8)), (20_000, range(60)), (2**20, range(60, 120)), (2**30, range(120, 180))],
)
def test_equals_the_plain_search(memory: int, seeds: range) -> None:
    for seed in seeds:
        queries, training, case = random_case(seed)
        expected = plain_search(queries, training, **case)
        assert_same(nearest(queries, training, memory=memory, **case), expected)


def test_large_sets_with_many_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sorted from far to near, the worst order for a running threshold."""
    monkeypatch.setattr(neighbours, "_LARGEST_BLOCK", 64)
    rng = np.random.default_rng(0)
    training = rng.integers(0, 256, (1000, 3, 4, 4), dtype=np.uint8)
    queries = rng.integers(0, 256, (70, 3, 4, 4), dtype=np.uint8)
    order = np.argsort(-all_distances(queries[:1], training)[0])
    for some in (training, training[order]):
        assert_same(nearest(queries, some, 50), plain_search(queries, some, 50))
        a, b = (x.reshape(len(x), -1).astype(np.float32) / 255 for x in (queries, some))
        assert_same(nearest(a, b, 50), plain_search(a, b, 50))


def test_near_duplicates_of_bright_pictures() -> None:
    """One grey level in one pixel: plain float32 products cannot see it, these do."""
    rng = np.random.default_rng(1)
    base = np.full((3, 64, 64), 250, np.uint8)
    flat = np.repeat(base[None], 200, axis=0).reshape(200, -1)
    for i in range(200):
        # The i-th differs from the base in i + 1 pixels.
        flat[i, rng.permutation(flat.shape[1])[: i + 1]] += 1
    training = flat[rng.permutation(200)].reshape(200, 3, 64, 64)
    found = nearest(base[None], training, 50)
    np.testing.assert_allclose(found.distance[0] * 255**2, np.arange(1, 51), rtol=1e-12)
    assert_same(found, plain_search(base[None], training, 50))
    a, b = (x.reshape(len(x), -1).astype(np.float32) / 255 for x in (base[None], training))
    products = (a * a).sum(1)[:, None] + (b * b).sum(1) - 2 * a @ b.T
    assert (np.argsort(products[0])[:50] != found.index[0]).any()


@pytest.mark.parametrize("levels", [(0, 256), (0, 2), (254, 256)])
def test_products_of_pixels_are_exact(levels: tuple[int, int]) -> None:
    """Also where sums reach the largest integers: black against white."""
    rng = np.random.default_rng(2)
    queries = rng.integers(*levels, (5, 3, 41, 41), dtype=np.uint8)
    training = rng.integers(*levels, (7, 3, 41, 41), dtype=np.uint8)
    queries[0], training[0], training[1] = 0, 0, 255
    space = Pixels(3 * 41 * 41)
    a, b = (block_of(space, space.load(x, CPU)) for x in (queries, training))
    exact = np.rint(all_distances(queries, training) * 255**2)
    assert exact[0, 1] == 3 * 41 * 41 * 255**2
    np.testing.assert_array_equal(block_distances(space, a, b).numpy(), exact)


@pytest.mark.parametrize("seed", range(12))
def test_error_of_features_stays_within_the_bound(seed: int) -> None:
    rng = np.random.default_rng(seed)
    width = int(rng.choice([1, 10, 700, 3000]))
    scale, offset = 10.0 ** rng.uniform(-25, 15), rng.choice([0, 1, 1000])
    training = (scale * (offset + rng.normal(size=(40, width)))).astype(np.float32)
    queries = training[:30] + (scale * 1e-4 * rng.normal(size=(30, width))).astype(np.float32)
    space = Features.of(queries, training, 16)
    a, b = (block_of(space, space.load(x, CPU)) for x in (queries, training))
    exact = all_distances(queries, training)
    error = np.abs(block_distances(space, a, b).numpy() * space.unit - exact)
    bound = space.slack(a, b).numpy()[:, None] * space.unit
    assert (error <= bound).all()
    # Neither is the bound so wide that everything would have to be measured anew.
    assert bound.max() < 1e-3 * max(exact.max(), scale**2 * width)


@pytest.mark.parametrize("offset", [0.0, 100.0, 10_000.0])
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e15])
def test_near_duplicates_of_features(offset: float, scale: float) -> None:
    """Rows that differ by less than float32 products can tell, and by one rounding step."""
    rng = np.random.default_rng(3)
    # In three heaps, or the shift by the mean would leave nothing to cancel.
    base = rng.normal(size=(3, 200)) + offset
    training = np.tile(base, (100, 1)) + 1e-4 * rng.normal(size=(300, 200))
    training[::3] = training[0]
    some = (scale * training).astype(np.float32)
    queries = np.stack([some[0], np.nextafter(some[1], np.float32(np.inf)), some[2]])
    for memory in (40_000, 1_000_000, 2**30):
        found = nearest(queries, some, 40, memory=memory)
        assert_same(found, plain_search(queries, some, 40), rtol=1e-10)


def test_order_of_equal_distances_is_that_of_indices() -> None:
    training = np.zeros((500, 1, 2, 2), np.uint8)
    for rows in (training, training.reshape(500, 4).astype(np.float32)):
        for memory in (10_000, 2**30):
            found = nearest(rows[:3], rows, 7, memory=memory)
            np.testing.assert_array_equal(found.index, [list(range(7))] * 3)
            np.testing.assert_array_equal(found.distance, np.zeros((3, 7)))


def test_image_that_exists_many_times() -> None:
    """More copies than the search looks beyond k for: others are searched outside the group."""
    rng = np.random.default_rng(4)
    training = rng.integers(0, 256, (300, 3, 4, 4), dtype=np.uint8)
    training[50:150] = training[7]
    groups = np.arange(300)
    groups[50:150] = 7
    queries = np.concatenate([training[[7, 8]], training[[7]] ^ 1])
    found = nearest(queries, training, 50, groups=groups)
    assert found.index[0, 0] == 7
    assert found.distance[0, 0] == 0.0
    assert (groups[found.index[0, 1:]] != 7).all()
    assert found.distance[0, 1] > 0.0
    assert_same(found, plain_search(queries, training, 50, groups=groups))
    # Without groups the copies hide it: distances of 0, one after the other.
    assert (nearest(queries, training, 50).distance[0] == 0).all()


@pytest.mark.parametrize("size", [5, 60, 66, 67, 200])
def test_one_group_only(size: int) -> None:
    rng = np.random.default_rng(5)
    training = rng.normal(size=(size, 3)).astype(np.float32)
    found = nearest(training[:4], training, 50, groups=np.zeros(size, np.int64))
    np.testing.assert_array_equal(found.index[:, 0], range(4))
    assert (found.index[:, 1:] == -1).all()
    assert np.isinf(found.distance[:, 1:]).all()


def test_training_images_among_themselves() -> None:
    rng = np.random.default_rng(6)
    training = rng.normal(size=(80, 5)).astype(np.float32)
    training[40:] = training[:40]
    groups = np.arange(80) % 40
    found = nearest(training, training, 3, groups=groups, exclude=groups)
    assert (groups[found.index] != groups[:, None]).all()
    assert (found.distance > 0).all()
    assert_same(found, plain_search(training, training, 3, groups=groups, exclude=groups))


def test_mirror_images() -> None:
    rng = np.random.default_rng(7)
    training = rng.integers(0, 256, (50, 3, 4, 6), dtype=np.uint8)
    training[3] = (training[3] // 2) + (training[3] // 2)[..., ::-1]  # its own mirror image
    queries = np.concatenate([training[:10], training[:10, :, :, ::-1]])
    found = nearest(queries, training, 4, mirrored=True)
    np.testing.assert_array_equal(found.index[:, 0], [*range(10), *range(10)])
    np.testing.assert_array_equal(found.distance[:, 0], np.zeros(20))
    np.testing.assert_array_equal(found.mirrored, [i >= 10 and i != 13 for i in range(20)])
    assert not nearest(queries, training, 4).mirrored.any()


def test_fewer_than_k_and_none() -> None:
    rows = np.arange(6, dtype=np.float32).reshape(3, 2)
    found = nearest(rows, rows, 5)
    np.testing.assert_array_equal(found.index[0], [0, 1, 2, -1, -1])
    np.testing.assert_array_equal(found.distance[0], [0, 8, 32, np.inf, np.inf])
    assert (nearest(rows, rows[:0], 2).index == -1).all()
    assert nearest(rows[:0], rows, 2).index.shape == (0, 2)


class Sliced:
    """Rows that can only be sliced, and remember how many were asked for at once."""

    def __init__(self, rows: Any) -> None:
        self._rows, self.most = rows, 0

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self._rows.shape)

    def __getitem__(self, rows: slice) -> Any:
        assert isinstance(rows, slice)
        part = self._rows[rows]
        self.most = max(self.most, len(part))
        return part


def test_anything_that_can_be_sliced(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    images = rng.integers(0, 256, (400, 3, 8, 8), dtype=np.uint8)
    rows = rng.normal(size=(400, 64)).astype(np.float32)
    for array in (images, rows, rows.astype(np.float16)):
        expected = plain_search(array[:20].astype(array.dtype), array, 5)
        stored = np.memmap(tmp_path / "rows", array.dtype, "w+", shape=array.shape)
        stored[:] = array
        stored.flush()
        shape = array.shape
        read = np.memmap(tmp_path / "rows", array.dtype, "r", shape=shape)
        sliced = Sliced(array)
        for form in (read, torch.from_numpy(array), sliced):
            assert_same(nearest(array[:20], form, 5, memory=200_000), expected)
        assert sliced.most * array[0].nbytes < 200_000


@pytest.mark.process
def test_memory_stays_within_the_budget() -> None:
    """The distances alone would take 640 MB; the process may grow by the budget of 96 MiB.

    Also where one long picture is among others.
    """
    code = """
import resource, torch, numpy as np
from memshield.audit.search.neighbours import nearest
rng = np.random.default_rng(0)
rows = rng.normal(size=(20_000, 32)).astype(np.float32)
images = rng.integers(0, 256, (20_000, 1, 6, 6), dtype=np.uint8)
nearest(rows[:10], rows[:10]), nearest(images[:10], images[:10])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
nearest(rows[:4000], rows, 50, memory=96 * 2**20)
nearest(images[:4000], images, 50, mirrored=True, memory=96 * 2**20)
crop_of = np.concatenate([np.arange(8000), np.full(300, 8000), np.arange(8001, 19701)])
nearest(images[:4000], images, 50, mirrored=True, memory=96 * 2**20, crop_of=crop_of)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # The results of 4,000 x 50 take 6 MB, twice.
    assert float(done.stdout) < 96 + 16


def test_precision_that_the_process_has_set_does_not_matter() -> None:
    rng = np.random.default_rng(9)
    rows = rng.normal(size=(600, 256)).astype(np.float32)
    expected = plain_search(rows[:50], rows, 10)
    mkldnn: Any = torch.backends.mkldnn
    inside: list[str] = []

    def look(done: int) -> None:
        inside.extend([mkldnn.matmul.fp32_precision, torch.backends.cuda.matmul.fp32_precision])

    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert_same(nearest(rows[:50], rows, 10, progress=look), expected)
        assert inside == ["ieee", "ieee"]
        assert torch.get_float32_matmul_precision() == "medium"
        assert mkldnn.matmul.fp32_precision == "bf16"
    finally:
        torch.set_float32_matmul_precision("highest")


def test_progress_counts_queries() -> None:
    rows = np.zeros((100, 3), np.float32)
    seen: list[int] = []
    nearest(rows, rows, 2, memory=30_000, progress=seen.append)
    assert seen == sorted(set(seen))
    assert len(seen) > 1
    assert seen[-1] == 100


def test_what_does_not_fit() -> None:
    images, rows = np.zeros((4, 3, 2, 2), np.uint8), np.zeros((4, 3), np.float32)
    for value in (np.nan, np.inf):
        bad = rows.copy()
        bad[2, 1] = value
        for memory in (50, 2**30):
            with pytest.raises(ValueError, match="queries: row 2"):
                nearest(bad, rows, memory=memory)
            with pytest.raises(ValueError, match="training: row 2"):
                nearest(rows, bad, memory=memory)
    wrong: list[tuple[Any, Any, dict[str, Any], str]] = [
        (images, images[:, :, :1], {}, "differ in shape"),
        (rows, rows[:, :2], {}, "differ in shape"),
        (rows, rows.astype(np.float64), {}, "float32"),
        (images, images.astype(np.float32), {}, "uint8"),
        (images.reshape(4, -1), images.reshape(4, -1), {}, "uint8"),
        (rows, rows, {"mirrored": True}, "mirror"),
        (rows, rows, {"exclude": np.arange(4)}, "exclude"),
        (rows, rows, {"groups": np.arange(3)}, "groups"),
        (rows, rows, {"groups": np.arange(4.0)}, "groups"),
        (rows, rows, {"groups": np.arange(4), "exclude": np.arange(5)}, "exclude"),
        (rows, rows, {"k": 0}, "k: "),
        (rows, rows, {"crop_of": np.arange(4)}, "crop_of: features have no crops"),
        (images, images, {"crop_of": np.arange(3)}, "crop_of"),
        (images, images, {"crop_of": np.array([0, 2, 2, 3])}, "crop_of: pictures must follow"),
        (images, images, {"crop_of": np.array([1, 1, 2, 3])}, "crop_of: pictures must follow"),
        (images, images, {"crop_of": np.array([0, 1, 0, 1])}, "crop_of: pictures must follow"),
        (images, images, {"crop_of": [0, 0, 1, 1], "groups": np.arange(4)}, "groups"),
    ]
    for queries, training, case, match in wrong:
        with pytest.raises(ValueError, match=match):
            nearest(queries, training, **case)
