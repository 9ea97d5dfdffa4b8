"""Near duplicates against a naive twin that compares every two pictures."""

from __future__ import annotations

import io
import itertools
import tracemalloc
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from memshield.data import duplicates
from memshield.data.duplicates import groups, mirror, near_pairs, thumbnail
from tests.data import encode
from tests.tiny import Pixels, pictures

Floats = npt.NDArray[np.float32]
DISTANCE = 0.03


def naive_pairs(vectors: Floats, distance: float) -> list[tuple[int, int]]:
    exact = vectors.astype(np.float64)
    found = []
    for row in range(len(exact)):
        apart = np.sqrt(np.mean((exact[row + 1 :] - exact[row]) ** 2, axis=1))
        found += [(row, row + 1 + int(other)) for other in np.flatnonzero(apart <= distance)]
    return found


def pairs(vectors: Floats, distance: float) -> list[tuple[int, int]]:
    return sorted((min(pair), max(pair)) for block in near_pairs(vectors, distance)
                  for pair in block.tolist())  # fmt: skip


def clustered(count: int, width: int, seed: int, spread: float = DISTANCE) -> Floats:
    """Vectors around common centres, about as far apart as the threshold."""
    rng = np.random.default_rng(seed)
    centres = rng.random((max(1, count // 4), width))
    noise = rng.normal(0, spread / np.sqrt(2), (count, width))
    found = centres[rng.integers(0, len(centres), count)] + noise
    return found.clip(0, 1).astype(np.float32)


def test_pairs_equal_those_of_the_twin() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        count, width = int(rng.integers(1, 200)), int(rng.choice([3, 48, 768]))
        scattered = rng.random((count, width)).astype(np.float32)
        copies = clustered(count, width, seed, 0.0)
        for vectors in (scattered, copies, clustered(count, width, seed)):
            for distance in (0.0, DISTANCE, 0.2):
                assert pairs(vectors, distance) == naive_pairs(vectors, distance)


def test_pairs_of_a_set_larger_than_a_block() -> None:
    # Few values a vector, so that clusters lie next to each other and across the blocks.
    vectors = clustered(5000, 6, seed=0, spread=0.01)
    expected = naive_pairs(vectors, 0.01)
    assert len(expected) > 5000
    assert pairs(vectors, 0.01) == expected


def test_equal_vectors_all_pair_up() -> None:
    vectors = np.full((50, 768), 0.3, np.float32)
    assert pairs(vectors, 0.0) == list(itertools.combinations(range(50), 2))


@pytest.mark.parametrize("offset", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("distance", [1e-3, DISTANCE, 0.05])
def test_the_threshold_is_exact(distance: float, offset: float) -> None:
    rng = np.random.default_rng(1)
    direction = rng.choice([-1.0, 1.0], 768)
    base = np.full(768, offset) + rng.random(768) * 0.05
    for factor, near in ((0.999, True), (1.001, False)):
        vectors = np.stack([base, base + direction * distance * factor]).astype(np.float32)
        # Far ones beside them make the squares, and so their rounding, as large as they get.
        far = np.stack([np.zeros(768), np.ones(768)]).astype(np.float32)
        found = pairs(np.concatenate([vectors, far]), distance)
        assert ((0, 1) in found) is near


# Copies of pictures


def large_pictures() -> list[Pixels]:
    """Smooth pictures with fine detail, 128 px."""
    rng = np.random.default_rng(3)
    found = []
    for smooth in pictures(12, 128):
        detail = np.kron(rng.normal(0, 12, (64, 64, 1)), np.ones((2, 2, 1)))
        found.append((smooth + detail).clip(0, 255).astype(np.uint8))
    return found


def jpeg(pixels: Pixels) -> Image.Image:
    return Image.open(io.BytesIO(encode(pixels, "JPEG", quality=75)))


def noisy(pixels: Pixels) -> Image.Image:
    noise = np.random.default_rng(5).normal(0, 4, pixels.shape)
    return Image.fromarray((pixels + noise).round().clip(0, 255).astype(np.uint8))


def smaller(pixels: Pixels) -> Image.Image:
    return Image.fromarray(pixels).resize((64, 64), Image.Resampling.LANCZOS)


@pytest.mark.parametrize("copy", [Image.fromarray, jpeg, noisy, smaller])
def test_copies_are_found_and_distinct_pictures_are_not(
    copy: Callable[[Pixels], Image.Image],
) -> None:
    originals = large_pictures()
    images = [Image.fromarray(pixels) for pixels in originals] + [copy(p) for p in originals]
    vectors = np.stack([thumbnail(image) for image in images])
    assert pairs(vectors, DISTANCE) == [(i, i + 12) for i in range(12)]


def test_a_thumbnail_is_a_vector_of_colours() -> None:
    vector = thumbnail(Image.new("RGB", (50, 20), (255, 0, 51)))
    assert vector.dtype == np.float32
    assert np.allclose(vector.reshape(16, 16, 3), [1.0, 0.0, 0.2])
    assert thumbnail(Image.new("L", (4, 4))).shape == (768,)
    # Fine detail is averaged out, not picked from.
    checks = np.tile(np.array([[0, 255], [255, 0]], np.uint8), (32, 32))
    assert np.allclose(thumbnail(Image.fromarray(checks)), 0.5, atol=0.01)


# Groups


def naive_groups(
    hashes: list[str], vectors: Floats, distance: float, mirrored: bool = False
) -> list[int]:
    """Spread the lowest number along links until nothing changes, then number anew."""
    near = set(naive_pairs(vectors, distance))
    for row in range(len(vectors) if mirrored else 0):
        turned = vectors[row].reshape(16, 16, 3)[:, ::-1].reshape(1, -1)
        found = naive_pairs(np.concatenate([turned, vectors[:row]]), distance)
        near |= {(other - 1, row) for first, other in found if first == 0}
    number = list(range(len(hashes)))
    changed = True
    while changed:
        changed = False
        for a, b in itertools.combinations(range(len(hashes)), 2):
            if (hashes[a] == hashes[b] or (a, b) in near) and number[a] != number[b]:
                number[a] = number[b] = min(number[a], number[b])
                changed = True
    order = list(dict.fromkeys(number))
    return [order.index(n) for n in number]


def test_groups_equal_those_of_the_twin() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        count = int(rng.integers(1, 40))
        vectors = clustered(count, 48, seed)
        hashes = [f"{number:x}" for number in rng.integers(0, 2 * count, count)]
        expected = naive_groups(hashes, vectors, DISTANCE)
        assert groups(hashes, vectors, DISTANCE, mirrored=False).tolist() == expected


def test_mirror_images_are_in_a_group_where_they_count() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        vectors = clustered(24, 768, seed, spread=DISTANCE / 2)
        turned = rng.random(24) < 0.5
        vectors[turned] = mirror(vectors[turned])
        hashes = [f"{number:x}" for number in range(24)]
        together = naive_groups(hashes, vectors, DISTANCE, mirrored=True)
        assert groups(hashes, vectors, DISTANCE, mirrored=True).tolist() == together
        apart = naive_groups(hashes, vectors, DISTANCE)
        assert groups(hashes, vectors, DISTANCE, mirrored=False).tolist() == apart
        assert max(together) < max(apart)


@pytest.mark.parametrize("size", [(64, 64), (50, 37)])
def test_the_mirror_of_a_thumbnail_is_that_of_the_picture(size: tuple[int, int]) -> None:
    image = Image.fromarray(large_pictures()[0]).resize(size)
    other = thumbnail(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    mirrored, plain = (np.sqrt(np.mean((one - other) ** 2))
                       for one in (mirror(thumbnail(image)), thumbnail(image)))  # fmt: skip
    assert mirrored < DISTANCE / 4 < DISTANCE < plain


def test_memory_does_not_grow_with_the_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "_BLOCK", 256)
    peaks = []
    for count in (512, 2048):  # all alike: 16 times as many pairs
        vectors = np.full((count, 3), 0.3, np.float32)
        tracemalloc.start()
        assert not groups([str(i) for i in range(count)], vectors, DISTANCE, mirrored=False).any()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]


def test_groups_are_numbered_in_the_order_of_their_first_picture() -> None:
    vectors = np.eye(5, 16, dtype=np.float32)
    named = ["z", "a", "z", "m", "a"]
    assert groups(named, vectors, 0.0, mirrored=False).tolist() == [0, 1, 0, 2, 1]
    assert groups(list("edcba"), vectors, 0.0, mirrored=False).tolist() == [0, 1, 2, 3, 4]


def test_nearness_is_passed_on() -> None:
    vectors = np.array([[0.0], [0.02], [0.04], [0.06], [0.5]], np.float32)
    assert groups(list("abcde"), vectors, 0.025, mirrored=False).tolist() == [0, 0, 0, 0, 1]
