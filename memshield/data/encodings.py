"""Encoded pictures and captions on disk, so that frozen encoders run once and then go.

Encodings are training pictures in another form: they lie outside the run, in the owner's cache
folder, and can be deleted at any time (`MEMSHIELD_CACHE`, default ~/.cache/memshield).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from tqdm.auto import tqdm

from memshield.config.buckets import Size
from memshield.config.file import Config, cache_root
from memshield.data.batches import MicroBatch, PictureReader
from memshield.data.examples import Examples, Ints
from memshield.families.base import Encoded, Family, Pictures
from memshield.families.caption_padding import LENGTHS, end_to_end, filled_up
from memshield.families.kinds import OWN_LENGTHS
from memshield.rundir import new_folder

_PART = 256
"""Entries a file."""


class Processes(Protocol):
    """The processes that share the encoding; `memshield.training.ranks.Ranks` in a training."""

    rank: int
    count: int

    def barrier(self) -> None:
        """Go on when every process is here."""


class _Part:
    """A file of rows.

    Args:
        path: of it.

    Attributes:
        own_lengths: whether its captions lie end to end.
    """

    def __init__(self, path: Path) -> None:
        with safe_open(path, framework="pt") as file:
            # Views of the mapped file: only what is used is read.
            self._tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        lengths = self._tensors.pop(LENGTHS, None)
        self.own_lengths = lengths is not None
        self._ends = lengths.cumsum(0).tolist() if lengths is not None else []

    def row(self, place: int) -> Encoded:
        """What is kept of the row at a place of this file, a caption at its own length."""
        return {name: tensor[self._where(name, place)] for name, tensor in self._tensors.items()}

    def _where(self, name: str, place: int) -> int | slice:
        if name != "text" or not self.own_lengths:
            return place
        return slice(self._ends[place - 1] if place else 0, self._ends[place])


class EncodingStore:
    """Rows of encodings in files of `_PART` rows, written whole or not at all.

    Args:
        folder: of this store; it is made as it fills.
        count: number of rows.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self._folder = folder
        self._count = count
        self._open: dict[int, _Part] = {}

    def fill(
        self, encode: Callable[[range], Encoded], describe: str, ranks: Processes | None = None
    ) -> None:
        """Encode what is missing; parts that are there already are kept.

        Args:
            encode: rows -> tensors with as many leading entries, captions end to end.
            describe: what the progress bar says.
            ranks: share the work, each a part of it; all of them call this.
        """
        parts = range(0, self._count, _PART)
        missing = [start for start in parts if not self._part(start).exists()]
        if ranks is not None and ranks.count > 1:
            ranks.barrier()  # none begins before all have seen what is missing
            self._fill(missing[ranks.rank :: ranks.count], encode, describe)
            ranks.barrier()
            # What another rank encoded is missing here if the nodes share no cache.
            missing = [start for start in missing if not self._part(start).exists()]
        self._fill(missing, encode, describe)

    def _fill(
        self, missing: Sequence[int], encode: Callable[[range], Encoded], describe: str
    ) -> None:
        parts = [range(start, min(start + _PART, self._count)) for start in missing]
        with tqdm(total=sum(map(len, parts)), desc=describe, unit="row", delay=1) as bar:
            for rows in parts:
                encoded = {name: t.contiguous() for name, t in encode(rows).items()}
                with new_folder(self._part(rows.start)) as aside:
                    save_file(encoded, aside / "rows.safetensors")
                bar.update(len(rows))

    def read(self, rows: Sequence[int]) -> Encoded:
        """Encodings of these rows, stacked, in host memory; captions filled up to the longest."""
        found = [self._opened(row).row(row % _PART) for row in rows]
        texts: Encoded = {}
        if self._opened(rows[0]).own_lengths:
            texts = filled_up([row.pop("text") for row in found])
        return {name: torch.stack([row[name] for row in found]) for name in found[0]} | texts

    def _part(self, start: int) -> Path:
        return self._folder / f"{start // _PART:06d}"

    def _opened(self, row: int) -> _Part:
        part = row - row % _PART
        if part not in self._open:
            self._open[part] = _Part(self._part(part) / "rows.safetensors")
        return self._open[part]


class EncodedCaptions:
    """Encodings of every member's caption, and of the empty one.

    Args:
        config: resolved settings.
        family: that encodes them.
        examples: the table.
        captions: by example index.
        ranks: share the encoding.
    """

    def __init__(
        self,
        config: Config,
        family: Family,
        examples: Examples,
        captions: Sequence[str],
        ranks: Processes | None = None,
    ) -> None:
        # Equal captions are encoded once; the empty one is always among them.
        texts = sorted({"", *(captions[i] for i in _encoded(examples))})
        self._row = {text: row for row, text in enumerate(texts)}
        self._captions = captions
        folder = cache_root() / "encodings" / _key(config, family, texts)
        self._store = EncodingStore(folder, len(texts))
        batch = config.train_batch_size

        def encode(rows: range) -> Encoded:
            chunks = [texts[i : min(i + batch, rows.stop)] for i in rows[::batch]]
            encoded = (end_to_end(family.encode_captions(chunk)) for chunk in chunks)
            return _concatenate([_on_host(one) for one in encoded])

        self._store.fill(encode, "Encoding captions", ranks)

    def of(self, batch: MicroBatch) -> Encoded:
        """Those of a batch, on the host."""
        texts = texts_of(batch, self._captions)
        return self._store.read([self._row[text] for text in texts])


def texts_of(batch: MicroBatch, captions: Sequence[str]) -> list[str]:
    """The captions of a batch, as they are to be trained on."""
    pairs = zip(batch.index.tolist(), batch.empty.tolist(), strict=True)
    return ["" if empty else captions[index] for index, empty in pairs]


def _encoded(examples: Examples) -> list[int]:
    """Members, and those that are watched while training."""
    return list(np.union1d(examples.members(), examples.watched()).tolist())


class EncodedExamples:
    """Encodings of every member by index and orientation, and of every caption.

    Args:
        config: resolved settings.
        family: with its encoders still on the device.
        examples: the table.
        reader: of the pictures, with a fixed crop; the pictures of each aspect bucket are kept
            by themselves.
        captions: by example index, or None.
        ranks: share the encoding.
    """

    def __init__(
        self,
        config: Config,
        family: Family,
        examples: Examples,
        reader: PictureReader,
        captions: Sequence[str] | None,
        ranks: Processes | None = None,
    ) -> None:
        self._orientations = 2 if config.random_flip else 1
        self._place: dict[int, tuple[EncodingStore, int]] = {}
        members = np.asarray(_encoded(examples), dtype=np.int64)
        if reader.buckets is None:
            self._fill(config, family, examples, reader, members, None, ranks)
        else:
            for size, part in reader.buckets.parts(members):
                self._fill(config, family, examples, reader, part, size, ranks)
        self._captions = None
        if captions is not None:
            self._captions = EncodedCaptions(config, family, examples, captions, ranks)

    def _fill(
        self,
        config: Config,
        family: Family,
        examples: Examples,
        reader: PictureReader,
        members: Ints,
        size: Size | None,
        ranks: Processes | None,
    ) -> None:
        """A store of pictures of one size: of those of an aspect bucket, or of all."""
        key = _key(config, family, examples.sha256[members].tolist(), size)
        folder = cache_root() / "encodings" / key
        store = EncodingStore(folder, len(members) * self._orientations)
        batch = config.train_batch_size

        def encode_pictures(rows: range) -> Encoded:
            done = []
            for start in range(rows.start, rows.stop, batch):
                chosen = range(start, min(start + batch, rows.stop))
                pictures = self._read(chosen, members, examples, reader)
                done.append(_on_host(family.encode_pictures(pictures)))
            return _concatenate(done)

        store.fill(encode_pictures, "Encoding pictures", ranks)
        self._place |= {index: (store, place) for place, index in enumerate(members.tolist())}

    def encode(self, batch: MicroBatch) -> Encoded:
        """The cached encodings of a batch, all of one size, on the host."""
        places = [self._place[index] for index in batch.index.tolist()]
        rows = [
            place * self._orientations + int(flip)
            for (_, place), flip in zip(places, batch.flip.tolist(), strict=True)
        ]
        encoded = places[0][0].read(rows)
        return encoded if self._captions is None else encoded | self._captions.of(batch)

    def _read(
        self, rows: range, members: Ints, examples: Examples, reader: PictureReader
    ) -> Pictures:
        pixels, sizes, corners = [], [], []
        for row in rows:
            index, flip = int(members[row // self._orientations]), row % self._orientations
            picture, corner = reader.read(index, mirrored=bool(flip))
            pixels.append(picture)
            sizes.append((int(examples.height[index]), int(examples.width[index])))
            corners.append(corner)
        return Pictures(
            torch.from_numpy(np.stack(pixels)), torch.tensor(sizes), torch.tensor(corners)
        )


def _on_host(encoded: Encoded) -> Encoded:
    """Off the GPU, where the text encoders need the room that a part's encodings would take."""
    return {name: tensor.cpu() for name, tensor in encoded.items()}


def _concatenate(parts: list[Encoded]) -> Encoded:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _key(config: Config, family: Family, contents: Sequence[str], size: Size | None = None) -> str:
    """Folder name: a digest of everything that the encodings depend on."""
    repository = family.facts.repository
    vae = family.facts.vae_repository
    what = {
        "family": family.facts.family,
        "model": [r.identity() for r in (repository, vae) if r is not None],
        "variant": config.variant,
        "resolution": config.resolution if size is None else size,
        "center_crop": config.center_crop,
        "orientations": 2 if config.random_flip else 1,
        "tiling": config.enable_vae_tiling,
        "dtype": str(family.frozen_dtype),
        "contents": list(contents),
    }
    if config.max_sequence_length is not None:
        what["max_sequence_length"] = config.max_sequence_length
    if family.facts.family in OWN_LENGTHS:
        what["captions"] = "end to end"
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:32]


class LiveEncoder:
    """Encodes every batch as it comes, for pixel models and for crops that are drawn anew.

    Args:
        family: with its VAE on the device.
        captions: by example index, or None.
        encoded: of the captions, which do not change with a crop; without them they are encoded
            as they come.
    """

    def __init__(
        self,
        family: Family,
        captions: Sequence[str] | None,
        encoded: EncodedCaptions | None = None,
    ) -> None:
        self._family = family
        self._captions = captions
        self._encoded = encoded
        if encoded is not None:
            # What comes next asks where the network is: its moments and averages lie there, too.
            family.release_text_encoders()

    def encode(self, batch: MicroBatch) -> Encoded:
        """Encodings of a batch: of pictures on the device, of captions wherever they are."""
        assert batch.pixels is not None
        assert batch.original_size is not None
        assert batch.crop is not None
        pictures = Pictures(batch.pixels, batch.original_size, batch.crop)
        encoded = self._family.encode_pictures(pictures)
        if self._encoded is not None:
            encoded |= self._encoded.of(batch)
        elif self._captions is not None:
            encoded |= self._family.encode_captions(texts_of(batch, self._captions))
        return encoded
