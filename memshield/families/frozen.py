"""The frozen files of a full save: the base's own, byte for byte.

Saving the loaded parts anew would rename what newer libraries rename, and lose precision.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from pathlib import Path

from memshield.config.file import Config
from memshield.families.facts import Facts
from memshield.families.kinds import SAFETY_CHECKER
from memshield.families.repository import Repository

log = logging.getLogger("memshield")

_PARTS = "model_index.json"
_INDEX = ".safetensors.index"


def copy_frozen(
    config: Config, facts: Facts, base: Path, vae: Path, folder: Path, previous: Path | None
) -> None:
    """Write all of a pipeline but the network that is trained.

    Args:
        config: resolved settings.
        facts: of the model.
        base: local folder of the base pipeline.
        vae: local folder of the VAE, in the base or elsewhere.
        folder: where the pipeline is saved.
        previous: an earlier save of the same run, whose files are linked to.
    """
    left_out = _unreadable(config, facts, base)
    if left_out is None:
        link_or_copy(previous, folder, _PARTS, base / _PARTS)
    else:
        _write_without(left_out, base / _PARTS, folder / _PARTS)
        if previous is None:
            log.warning(
                "The model is saved without the safety checker of its base, which has no "
                "safetensors weights."
            )
    for part in facts.components:
        if part in (facts.network_folder, left_out):
            continue
        source = vae if part == "vae" else base / part
        replaced = part == "vae" and facts.vae_repository is not None
        repository = Repository.open("", str(source))
        variant = None if replaced else repository.variant_in("", config.variant)
        for name in repository.component_files("", variant):
            plain = _plain(name, variant)
            if variant and _INDEX in name:
                if plain != name:  # the other is that of the weights without a variant
                    _write_index(source / name, folder / part / plain, variant)
            else:
                link_or_copy(previous, folder, f"{part}/{plain}", source / name)
    if config.prediction_type is not None:
        path = folder / "scheduler" / "scheduler_config.json"
        settings = json.loads(path.read_text(encoding="utf-8"))
        path.unlink()  # it may be linked: write a file of our own
        settings["prediction_type"] = config.prediction_type
        path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def _unreadable(config: Config, facts: Facts, base: Path) -> str | None:
    """The safety checker, where stock diffusers could not load what would be saved of it."""
    if SAFETY_CHECKER not in facts.components:
        return None
    held = Repository.open("", str(base)).has_part(SAFETY_CHECKER, config.variant)
    return None if held else SAFETY_CHECKER


def _write_without(part: str, source: Path, target: Path) -> None:
    """The list of a pipeline's parts without one that it need not have."""
    index = json.loads(source.read_text(encoding="utf-8"))
    index |= {part: [None, None], f"requires_{part}": False}
    target.write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _plain(name: str, variant: str | None) -> str:
    """A file's name without the variant."""
    return name.replace(f".{variant}", "") if variant else name


def _write_index(source: Path, target: Path, variant: str) -> None:
    """The index of weights in several files, which are named without the variant here."""
    index = json.loads(source.read_text(encoding="utf-8"))
    places = {tensor: _plain(file, variant) for tensor, file in index["weight_map"].items()}
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps({**index, "weight_map": places}, indent=2) + "\n", "utf-8")


def link_or_copy(previous: Path | None, folder: Path, inside: str, source: Path) -> None:
    """`folder`/`inside` as a hard link to the same file in `previous`, else a copy of `source`.

    Never a link to the source itself: it may be a shared cache, which a user who writes into a
    saved model must not change.
    """
    target = folder / inside
    target.parent.mkdir(exist_ok=True)
    if previous is not None and (previous / inside).is_file():
        try:
            os.link(previous / inside, target)
            return
        except OSError:
            pass  # another file system, or one without links
    shutil.copyfile(source, target)
