"""The real pictures of an audit: which they are, and what is known of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from memshield.audit.reference import Reference, shown_name
from memshield.audit.sample_size import controls
from memshield.audit.subject import open_run
from memshield.config.file import make_config
from memshield.data.examples import HELD_OUT, MEMBER
from memshield.data.scan import scan
from memshield.data.source import SourceSettings, open_source
from memshield.errors import UserError
from memshield.rundir import RunDir
from tests.audit.runs import save_pictures, small_run
from tests.data import save_set, settings
from tests.data.test_scan import prepared
from tests.tiny import image_folder, pictures


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    return small_run(tmp_path_factory.mktemp("reference"))


@pytest.fixture(scope="module")
def reference(run: RunDir) -> Reference:
    return open_run(run.path, None, {}).reference


def test_the_skip_record_is_joined_by_picture(run: RunDir, reference: Reference) -> None:
    table = pq.read_table(run.skips)
    assert table["index"].to_pylist() == reference.members.tolist()
    assert reference.draws is not None
    assert reference.skips is not None
    assert reference.draws.tolist() == table["draws"].to_pylist()
    assert reference.skips.tolist() == table["skips"].to_pylist()
    assert reference.draws.sum() == 24 * 4


def test_other_pictures_or_others_held_out_are_not_alike(reference: Reference) -> None:
    assert reference.is_like(reference)
    examples = reference.examples
    swapped = examples.split.copy()
    first = int(np.flatnonzero(swapped == MEMBER)[0]), int(np.flatnonzero(swapped == HELD_OUT)[0])
    swapped[list(first)] = swapped[list(first[::-1])]
    assert not reference.is_like(replace(reference, examples=replace(examples, split=swapped)))
    other = replace(examples, sha256=examples.sha256[::-1])
    assert not reference.is_like(replace(reference, examples=other))
    # A model is prompted with the captions that it was trained with.
    texts = [f"picture {i}" for i in range(len(reference.members))]
    told = replace(reference, captions=texts)
    assert told.is_like(reference) and told.is_like(replace(reference, captions=tuple(texts)))
    assert not told.is_like(replace(reference, captions=[*texts[1:], "another"]))


def test_a_fingerprint_is_of_the_set_and_not_of_its_order(reference: Reference) -> None:
    turned = replace(reference, members=reference.members[::-1])
    assert turned.fingerprint == reference.fingerprint
    assert replace(reference, members=reference.members[1:]).fingerprint != reference.fingerprint


def test_of_fresh_pictures_those_that_were_trained_on_are_left_out(
    reference: Reference, tmp_path: Path
) -> None:
    training = save_pictures(reference.training, tmp_path / "training")
    mixed = np.concatenate([reference.training[:7], reference.held_out[:20]])
    fresh = save_pictures(mixed, tmp_path / "fresh")
    values = {"pretrained_model_name_or_path": "none", "resolution": 8}
    found = Reference.of_dataset(
        make_config({**values, "train_data_dir": str(training)}),
        1,
        make_config({**values, "train_data_dir": str(fresh)}),
    )
    assert found.mirrored
    np.testing.assert_array_equal(found.training[:120], reference.training[:120])
    np.testing.assert_array_equal(found.held_out[:30], reference.held_out[:20])


def test_of_fresh_pictures_near_duplicates_of_training_pictures_are_left_out(
    reference: Reference, tmp_path: Path
) -> None:
    """They would be controls as near as any copy, and so hide every copy."""
    shown = reference.training[:12].astype(np.int64)
    brighter = np.clip(shown[:6] + 2, 0, 255).astype(np.uint8)
    turned = reference.training[6:12][..., ::-1]
    values = {"pretrained_model_name_or_path": "none", "resolution": 8}

    def beside(*held_out: Any) -> Reference:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        training = save_pictures(reference.training, folder / "training")
        fresh = save_pictures(np.concatenate(held_out), folder / "fresh")
        return Reference.of_dataset(
            make_config({**values, "train_data_dir": str(training)}),
            1,
            make_config({**values, "train_data_dir": str(fresh)}),
        )

    found = beside(brighter, reference.held_out[:20], turned, reference.training[:3])
    assert (found.overlap, found.near_overlap) == (3, 12)
    np.testing.assert_array_equal(found.held_out[:30], reference.held_out[:20])
    with pytest.raises(UserError, match="held_out: all of its 12 pictures are training pictures, "
                       "or nearly equal to some"):  # fmt: skip
        beside(brighter, turned)


@pytest.mark.parametrize(("changes", "count"), [({}, 30), ({"center_crop": True}, 0)])
def test_pictures_that_are_cropped_at_random_are_counted(
    reference: Reference, tmp_path: Path, changes: dict[str, Any], count: int
) -> None:
    assert reference.random_crops == 0, "digits are square"
    wide = [np.tile(one, (1, 2, 1)) for one in pictures(30, 16)]
    folder = save_set(tmp_path / "set", [*wide, *pictures(30, 16)])
    config = settings(folder, held_out_fraction=0.0, num_shards=1, resolution=16, **changes)
    source = open_source(SourceSettings.of(config))
    examples = scan(config, source).examples
    found = Reference.of_run(config, 3, source, examples, RunDir(tmp_path / "run"))
    assert found.random_crops == count
    assert (found.crops is not None) == (count > 0)
    assert (found.drawn is not None) == (count > 0)
    if found.crops is not None:
        parts = {one.tobytes() for one in found.crops.images[:]}
        learned, _ = found.as_learned
        assert {one.tobytes() for one in learned[:]} <= parts
        assert (learned[:] != found.training[:]).any(axis=(1, 2, 3)).sum() > 15, "not middles"
        again = Reference.of_run(config, 3, source, examples, RunDir(tmp_path / "run"))
        np.testing.assert_array_equal(again.as_learned[0][:], learned[:])
    other = Reference.of_dataset(config, 3)
    assert (other.random_crops, other.crops is not None) == (count, count > 0), "nobody knows"


def test_captions_go_with_their_pictures(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "pictures", 60)
    values = {"pretrained_model_name_or_path": "none", "resolution": 16}
    found = Reference.of_dataset(make_config({**values, "train_data_dir": str(folder)}), 3)
    assert found.captions == [f"picture number {i}" for i in range(60)]
    assert list(found.held_out_captions or []) == []


def test_names_of_local_folders_are_their_last_part(tmp_path: Path) -> None:
    assert shown_name(str(tmp_path)) == tmp_path.name
    assert shown_name("someone/pictures") == "someone/pictures"
    assert shown_name(None) is None


def test_of_held_out_duplicates_one_is_a_control(tmp_path: Path) -> None:
    shown = pictures(40, 8, channels=1)
    folder = save_set(tmp_path / "set", [*shown, *shown[:30]])
    examples = prepared(folder, held_out_fraction=0.4).examples
    held_out = examples.held_out()
    chosen = controls(examples, held_out)
    assert len(chosen) < len(held_out)
    groups = examples.group[held_out].tolist()
    assert examples.group[chosen].tolist() == list(dict.fromkeys(groups))
