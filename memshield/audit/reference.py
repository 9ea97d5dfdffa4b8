"""The real pictures of an audit: members and held-out ones."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from memshield.audit.crops import Crops, drawn_places
from memshield.audit.images import ImageSet, Ints, of_run
from memshield.audit.sample_size import LEAST_TRAINING, controls, require_different
from memshield.config.buckets import Size, sizes_of
from memshield.config.file import Config
from memshield.data.batches import PictureReader, captions_of
from memshield.data.duplicates import groups
from memshield.data.examples import Examples
from memshield.data.scan import Scanned, scan, scan_pictures
from memshield.data.source import Source, SourceSettings, open_source
from memshield.errors import UserError
from memshield.paths import expanded
from memshield.rundir import RunDir


@dataclass(frozen=True)
class Reference:
    """Training and held-out pictures at the model's resolution, with what is known of them.

    Pictures that were trained on in aspect buckets are squares here, as those that are generated.

    Attributes:
        name, revision: of the dataset.
        examples: the table; an audit of a run has the run's own.
        members: [N] indices of the training pictures in it.
        training, held_out: [N, C, H, W] and [M, C, H, W] uint8.
        captions, held_out_captions: [N] and [M], or None without text.
        mirrored: whether training saw mirrored pictures, or may have.
        draws, skips: [N] how often each was drawn and skipped in training, where known.
        overlap, near_overlap: pictures that were named as held out, but are training pictures, or
            near duplicates of some, and left out.
        buckets: sizes that they were trained on in; () for the size that they have here.
        crops: of the training pictures, where training saw other parts than the middle, or may
            have; None where it did not.
        random_crops: training pictures of which it did, or may have.
        drawn: with `crops`, training and held-out pictures once more, each cut at one place that
            is drawn at random.
    """

    name: str
    revision: str | None
    examples: Examples
    members: Ints
    training: ImageSet
    held_out: ImageSet
    captions: Sequence[str] | None
    held_out_captions: Sequence[str] | None
    mirrored: bool
    draws: Ints | None = None
    skips: Ints | None = None
    overlap: int = 0
    near_overlap: int = 0
    buckets: tuple[Size, ...] = ()
    crops: Crops | None = None
    random_crops: int = 0
    drawn: tuple[ImageSet, ImageSet] | None = None

    @classmethod
    def of_run(
        cls, config: Config, channels: int, source: Source, examples: Examples, run: RunDir | None
    ) -> Reference:
        """The members and held-out pictures of a run.

        Args:
            config: resolved.
            channels: 1 or 3.
            source, examples: of the run.
            run: whose skip record is read, if it has one.

        Raises:
            UserError: too few pictures were trained on.
        """
        members, held_out = examples.members(), controls(examples, examples.held_out())
        _require_enough(len(members))
        require_different(examples)
        reader = PictureReader(
            source, examples, channels, int(config.resolution or 0), config.center_crop
        )
        captions = captions_of(source, examples)
        found = cls(
            name=str(shown_name(config.train_data_dir or config.dataset_name)),
            revision=source.revision,
            examples=examples,
            members=members,
            training=of_run(reader, members),
            held_out=of_run(reader, held_out),
            captions=_some(captions, members),
            held_out_captions=_some(captions, held_out),
            mirrored=config.random_flip,
            buckets=sizes_of(config),
        )
        if not found.buckets:
            crops = Crops.of(reader, examples, members)
            if crops is not None:
                moved = int((np.bincount(crops.picture) > 1).sum())
                places = drawn_places(len(examples))
                drawn = (
                    of_run(reader, members, places[members]),
                    of_run(reader, held_out, places[held_out]),
                )
                found = replace(found, crops=crops, random_crops=moved, drawn=drawn)
        return found if run is None else found.with_record(run)

    def with_record(self, run: RunDir) -> Reference:
        """The same pictures, with what a run has drawn and skipped of them by now."""
        draws, skips = _read_skips(run, self.members)
        return replace(self, draws=draws, skips=skips)

    @classmethod
    def of_dataset(cls, config: Config, channels: int, fresh: Config | None = None) -> Reference:
        """A dataset that a model not trained here was trained on, all of it.

        Args:
            config: names the dataset; `resolution` is set.
            channels: 1 or 3.
            fresh: names pictures that it was not trained on; None where there are none.

        Raises:
            UserError: a dataset cannot be read, or too few pictures were trained on.
        """
        whole = _WholeSet.of(config)
        found = cls.of_run(config, channels, whole.source, whole.examples, run=None)
        found = replace(found, mirrored=True)
        if fresh is None:
            return found
        return found._with_fresh(fresh, channels, whole, _WholeSet.of(fresh))

    def _with_fresh(
        self, config: Config, channels: int, trained: _WholeSet, named: _WholeSet
    ) -> Reference:
        source, examples = named.source, named.examples
        # A picture that is in both sets was trained on; one that was saved anew is none the less.
        equal = np.isin(examples.sha256, self.examples.sha256)
        near = named.is_near(trained, config.duplicate_distance) & ~equal
        index = controls(examples, np.flatnonzero(~equal & ~near))
        if len(index) == 0:
            so = "or nearly equal to some" if near.any() else "too"
            raise UserError(
                "held_out",
                f"all of its {len(examples)} pictures are training pictures, {so}",
                "Name pictures that the model was not trained on, or leave it out.",
            )
        reader = PictureReader(
            source, examples, channels, int(config.resolution or 0), config.center_crop
        )
        drawn = self.drawn
        if drawn is not None:
            drawn = drawn[0], of_run(reader, index, drawn_places(len(examples))[index])
        return replace(
            self,
            drawn=drawn,
            held_out=of_run(reader, index),
            held_out_captions=_some(captions_of(source, examples), index),
            overlap=int(equal.sum()),
            near_overlap=int(near.sum()),
        )

    def is_like(self, other: Reference) -> bool:
        """Whether the same pictures are trained on and held out, as large and with equal captions.

        A model without text has none, and can be compared with one that has.
        """
        ours, theirs = self.examples, other.examples
        captions = [one.captions for one in (self, other) if one.captions is not None]
        return (
            self.training.shape == other.training.shape
            and all(list(one) == list(captions[0]) for one in captions)
            and np.array_equal(ours.sha256, theirs.sha256)
            and np.array_equal(ours.split, theirs.split)
        )

    @property
    def as_learned(self) -> tuple[ImageSet, ImageSet]:
        """Training and held-out pictures as training cuts them: what a perfect model would draw."""
        return self.drawn or (self.training, self.held_out)

    @property
    def compared_crops(self) -> int:
        """Crops that are searched; 0 for the middles."""
        return 0 if self.crops is None else len(self.crops.picture)

    @property
    def groups(self) -> Ints:
        """[N] duplicate group of every training picture."""
        groups: Ints = self.examples.group[self.members]
        return groups

    @property
    def duplicate_groups(self) -> int:
        """Groups of two training pictures and more."""
        return int((np.bincount(self.groups) > 1).sum())

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the digests of all training pictures, whatever their order."""
        digests = sorted(self.examples.sha256[self.members].tolist())
        return hashlib.sha256("".join(digests).encode()).hexdigest()


def shown_name(name: str | None) -> str | None:
    """A Hub id as it is; of a local path its last part only: reports are published."""
    here = None if name is None else expanded(name)
    return here.resolve().name if here is not None and here.exists() else name


def _some(captions: Sequence[str] | None, index: Ints) -> Sequence[str] | None:
    return None if captions is None else [captions[i] for i in index.tolist()]


@dataclass(frozen=True)
class _WholeSet:
    """A dataset that is not divided.

    Attributes:
        source: of its pictures.
        examples: the table of those that can be decoded.
        thumbnails: [N, D] of these; see `duplicates.thumbnail`.
    """

    source: Source
    examples: Examples
    thumbnails: npt.NDArray[np.float32]

    @classmethod
    def of(cls, config: Config) -> _WholeSet:
        settings = {
            "held_out_fraction": 0.0, "num_shards": 1, "train_batch_size": 1,
            "gradient_accumulation_steps": 1,
            "random_flip": True,  # where nobody knows, training may have mirrored its pictures
        }  # fmt: skip
        config = config.model_copy(update=settings)
        source = open_source(SourceSettings.of(config))
        results = scan_pictures(source)
        examples = scan(config, source, results).examples
        seen = [one.thumbnail for one in results if isinstance(one, Scanned)]
        return cls(source, examples, np.stack(seen))

    def is_near(self, other: _WholeSet, distance: float) -> npt.NDArray[np.bool_]:
        """[N] whether a picture is a near duplicate of one of another set, mirrored or not."""
        both = (other, self)
        group = groups(
            np.concatenate([one.examples.sha256 for one in both]).tolist(),
            np.concatenate([one.thumbnails for one in both]),
            distance,
            mirrored=True,
        )
        theirs, ours = np.split(group, [len(other.examples)])
        found: npt.NDArray[np.bool_] = np.isin(ours, theirs)
        return found


def _require_enough(members: int) -> None:
    if members < LEAST_TRAINING:
        raise UserError(
            "audit",
            f"{members} training pictures are too few: a picture is compared with its nearest "
            f"{LEAST_TRAINING}",
            "Audit models that were trained on more.",
        )


def _read_skips(run: RunDir, members: Ints) -> tuple[Ints | None, Ints | None]:
    if not run.skips.is_file():
        return None, None
    table = pq.read_table(run.skips)
    place = {int(index): i for i, index in enumerate(table["index"].to_pylist())}
    if any(int(index) not in place for index in members):
        return None, None
    rows = np.asarray([place[int(index)] for index in members])
    draws, skips = (table[name].to_numpy()[rows] for name in ("draws", "skips"))
    return draws, skips
