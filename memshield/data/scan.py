"""The scan before training: decode every picture once, find duplicates, split, draw shards."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from tqdm.auto import tqdm

from memshield.config.buckets import sizes_of
from memshield.config.file import Config
from memshield.data import duplicates
from memshield.data.buckets import Buckets, nearest
from memshield.data.examples import DROPPED, HELD_OUT, MEMBER, WATCHED, Examples
from memshield.data.images import BadImage, open_image, to_mode
from memshield.data.requirements import (
    require_a_picture_a_shard,
    require_enough_watched,
    require_full_batches,
    require_full_buckets,
)
from memshield.data.source import Source
from memshield.data.split import (
    assign_shards,
    default_held_out_fraction,
    hold_out,
    watched_fraction,
)
from memshield.errors import UserError
from memshield.quantities import plural
from memshield.randomness import Purpose

_CHUNK = 256
_ROWS_SHOWN = 10
_ROWS_CHECKED_ON_RESUME = 64


class Scanned(NamedTuple):
    """The scan's record of one picture."""

    sha256: str
    thumbnail: npt.NDArray[np.float32]
    width: int
    height: int


@dataclass(frozen=True)
class Scan:
    """The examples of a run and what is worth telling about them.

    Attributes:
        examples: the table.
        bad_rows: rows left out because their picture cannot be decoded.
        empty_captions: usable pictures whose caption is missing or empty; None without captions.
        exact_groups, near_groups: duplicate groups of two and more that hold only equal pictures,
            and those that hold unequal ones.
        buckets: members in each aspect bucket, by its height,width; () without buckets.
    """

    examples: Examples
    bad_rows: list[int]
    empty_captions: int | None
    exact_groups: int
    near_groups: int
    buckets: tuple[tuple[str, int], ...] = ()

    def facts(self) -> list[tuple[str, str]]:
        """The result in words, each fact with its name."""
        examples = self.examples
        sizes = np.bincount(examples.group)
        in_groups = int(sizes[sizes > 1].sum())
        bad = len(self.bad_rows)
        facts = [
            (
                "pictures",
                f"{len(examples) + bad} found"
                + (f", {bad} cannot be decoded and are left out" if bad else ""),
            ),
            (
                "members",
                f"{len(examples.members())} to train on, {len(examples.held_out())} held out"
                + (
                    f", {len(examples.watched())} watched while training"
                    if WATCHED in examples.split
                    else ""
                ),
            ),
            (
                "duplicates",
                f"{plural(self.exact_groups, 'group')} of equal and {self.near_groups} of nearly "
                f"equal pictures ({plural(in_groups, 'picture')})"
                + (
                    f", {int((examples.split == DROPPED).sum())} dropped"
                    if DROPPED in examples.split
                    else ""
                ),
            ),
            ("shards", f"{examples.num_shards}: {_sizes(examples.shard_sizes())} pictures"),
        ]
        if self.buckets:
            counts = "; ".join(f"{size}: {pictures}" for size, pictures in self.buckets)
            facts.append(("buckets", f"{counts} pictures to train on (height,width)"))
        if self.empty_captions is not None:
            be = "is" if self.empty_captions == 1 else "are"
            facts.insert(1, ("captions", f"{self.empty_captions} {be} empty"))
        return facts

    def lines(self) -> list[str]:
        """The facts for a terminal, one a line."""
        return [f"{name:<13} {words}" for name, words in self.facts()]


def _sizes(sizes: list[int]) -> str:
    if len(sizes) <= 16:
        return ", ".join(map(str, sizes))
    return f"{min(sizes)} to {max(sizes)}"


def scan_picture(stored: Any) -> Scanned | str:
    """Decode one picture; the reason in words where that fails."""
    try:
        image = to_mode(open_image(stored), "RGB")
    except BadImage as error:
        return f"{type(error).__name__}: {error}"
    digest = hashlib.sha256(f"{image.width}x{image.height}:".encode())
    digest.update(image.tobytes())
    return Scanned(digest.hexdigest(), duplicates.thumbnail(image), image.width, image.height)


def _decode(source: Source, rows: Sequence[int], describe: str) -> Iterator[Scanned | str]:
    chunks = [rows[start : start + _CHUNK] for start in range(0, len(rows), _CHUNK)]
    # Pillow decodes outside the interpreter's lock, so threads are enough.
    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,
        tqdm(total=len(rows), desc=describe, unit="picture", delay=1) as bar,
    ):
        for chunk in chunks:
            stored = source.pictures(list(chunk))
            yield from pool.map(scan_picture, stored)
            bar.update(len(chunk))


def scan_pictures(source: Source) -> list[Scanned | str]:
    """The record of every picture, or why it cannot be decoded."""
    return list(_decode(source, range(len(source)), "Scanning"))


def scan(config: Config, source: Source, results: Sequence[Scanned | str] | None = None) -> Scan:
    """Scan a dataset and decide what is trained on, what is held out, and in which shard.

    Args:
        config: settings.
        source: the dataset.
        results: of `scan_pictures`; None to call it.

    Raises:
        UserError: pictures that cannot be decoded (unless `skip_bad_images`), or too few of them.
    """
    if results is None:
        results = scan_pictures(source)
    bad = {row: reason for row, reason in enumerate(results) if isinstance(reason, str)}
    if bad and not config.skip_bad_images:
        shown = "".join(f"\n  row {row}: {why}" for row, why in list(bad.items())[:_ROWS_SHOWN])
        more = f"\n  and {len(bad) - _ROWS_SHOWN} more" if len(bad) > _ROWS_SHOWN else ""
        raise UserError(
            "skip_bad_images",
            f"{len(bad)} of {len(results)} pictures cannot be decoded:{shown}{more}",
            "Mend them, or leave them out with --skip_bad_images.",
        )
    good = [row for row in range(len(results)) if row not in bad]
    scanned = [result for result in results if isinstance(result, Scanned)]
    if not scanned:
        raise UserError("dataset_name", "no picture can be decoded", "Choose another dataset.")
    hashes = [item.sha256 for item in scanned]
    groups = duplicates.groups(
        hashes,
        np.stack([item.thumbnail for item in scanned]),
        config.duplicate_distance,
        config.random_flip,
    )
    all_labels = source.labels()
    labels = None if all_labels is None else [all_labels[row] for row in good]
    split = _split(groups, config)
    require_enough_watched(int((split == WATCHED).sum()), len(good), config)
    members = np.flatnonzero(split == MEMBER)
    require_a_picture_a_shard(len(members), len(good), config)
    shard = np.full(len(good), -1, dtype=np.int64)
    shard[members] = assign_shards(
        np.unique(groups[members], return_inverse=True)[1],
        _strata(labels, scanned, members, config),
        config.num_shards,
        strategy=config.shard_strategy,
        duplicates=config.duplicates,
        seed=config.seed,
    )
    captions = source.captions()
    exact, near = _count_groups(groups, hashes)
    examples = Examples(
        row=np.asarray(good, dtype=np.int64),
        sha256=np.asarray(hashes),
        split=split,
        shard=shard,
        group=groups,
        label=np.asarray(labels if labels is not None else [-1] * len(good), dtype=np.int64),
        width=np.asarray([item.width for item in scanned], dtype=np.int64),
        height=np.asarray([item.height for item in scanned], dtype=np.int64),
    )
    require_full_batches(min(examples.shard_sizes()), config)
    require_full_buckets(examples, config)
    empty = None if captions is None else sum(not captions[row].strip() for row in good)
    buckets = Buckets.of(config, examples)
    counts = () if buckets is None else tuple(buckets.counts(members))
    return Scan(examples, sorted(bad), empty, exact, near, counts)


def _strata(
    labels: Sequence[int] | None,
    scanned: Sequence[Scanned],
    members: npt.NDArray[np.int64],
    config: Config,
) -> list[int] | None:
    """What is spread evenly over the shards: labels, and in each of them the aspect buckets."""
    sizes = sizes_of(config)
    if not sizes:
        return None if labels is None else [labels[index] for index in members]
    shapes = np.asarray([(scanned[index].height, scanned[index].width) for index in members])
    buckets = nearest(sizes, shapes[:, 0], shapes[:, 1]).tolist()
    of_label = [0] * len(members) if labels is None else [labels[index] for index in members]
    return [label * len(sizes) + bucket for label, bucket in zip(of_label, buckets, strict=True)]


def _split(groups: npt.NDArray[np.int64], config: Config) -> npt.NDArray[np.str_]:
    split = np.full(len(groups), MEMBER, dtype=f"<U{len(HELD_OUT)}")
    if config.duplicates == "drop":
        _, first = np.unique(groups, return_index=True)
        split[:] = DROPPED
        split[first] = MEMBER
    kept = np.flatnonzero(split == MEMBER)
    fraction = config.held_out_fraction
    if fraction is None:
        fraction = default_held_out_fraction(len(kept))
    compact = np.unique(groups[kept], return_inverse=True)[1]
    split[kept[hold_out(compact, fraction, config.seed)]] = HELD_OUT
    watched = watched_fraction(len(kept), config.watch_fraction, config.watches)
    # Drawn from what the audit's draw left, so that a run with a watch has the same held-out
    # pictures as one without.
    left = np.flatnonzero(split == MEMBER)
    if watched and len(left):
        compact = np.unique(groups[left], return_inverse=True)[1]
        fraction = min(1.0, watched * len(kept) / len(left))
        split[left[hold_out(compact, fraction, config.seed, Purpose.WATCH)]] = WATCHED
    return split


def _count_groups(groups: npt.NDArray[np.int64], hashes: list[str]) -> tuple[int, int]:
    distinct: dict[int, set[str]] = {}
    for group, digest in zip(groups.tolist(), hashes, strict=True):
        distinct.setdefault(group, set()).add(digest)
    sizes = np.bincount(groups)
    large = [group for group in range(len(sizes)) if sizes[group] > 1]
    exact = sum(len(distinct[group]) == 1 for group in large)
    return exact, len(large) - exact


def require_same_dataset(examples: Examples, source: Source) -> None:
    """Refuse to go on with another dataset than the one that a run was started with.

    Pictures spread over the whole set are decoded and compared, not all: that would cost as
    much as the first scan.

    Raises:
        UserError: rows are missing or pictures differ.
    """
    count = min(_ROWS_CHECKED_ON_RESUME, len(examples))
    chosen = np.unique(np.linspace(0, len(examples) - 1, count).astype(np.int64))
    rows = examples.row[chosen].tolist()
    same = max(rows) < len(source)
    if same:
        results = _decode(source, rows, "Checking the dataset")
        same = all(
            isinstance(result, Scanned) and result.sha256 == expected
            for result, expected in zip(results, examples.sha256[chosen].tolist(), strict=True)
        )
    if not same:
        raise UserError(
            "dataset_name",
            "the dataset is not the one that this run was started with (pictures differ)",
            "Give the same dataset, or choose another output_dir for a new run.",
        )
