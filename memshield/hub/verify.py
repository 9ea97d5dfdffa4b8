"""Whether what is published is what it claims to be: files, hashes, and one set of claims.

It says that the files belong together. Who made them, only the repository's owner can say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, ModelCard, hf_hub_download

from memshield.audit.report import REPORT, Report, verdict
from memshield.digests import file_sha256
from memshield.errors import UserError
from memshield.hub.card import OWN_KEYS, metadata_of
from memshield.hub.contents import CARD, EVIDENCE, REPOSITORY_FILES, is_allowed, is_inside
from memshield.hub.manifest import NAME, Manifest
from memshield.network import asking

_ROUNDING = 1e-5
_LARGEST_TEXT = 20_000_000


@dataclass(frozen=True)
class Holding:
    """What is looked at: a folder, or a repository at a commit.

    Attributes:
        name: as the user called it.
        files: SHA-256 by path, where it is known without reading the file; else None.
        fetch: a file by its path, on this machine.
    """

    name: str
    files: Mapping[str, str | None]
    fetch: Callable[[str], Path]


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        what: was checked.
        problems: found; none where it holds.
    """

    what: str
    problems: tuple[str, ...]


def in_folder(folder: Path) -> Holding:
    """A folder on this machine.

    Raises:
        UserError: there is none.
    """
    if not folder.is_dir():
        raise UserError("repo_id", f"there is no folder {folder}", "Give a folder or a Hub id.")
    names = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir()]
    inside = [name for name in names if not name.startswith(".cache/")]
    return Holding(str(folder), dict.fromkeys(sorted(inside)), folder.joinpath)


def on_hub(api: HfApi, repo_id: str, revision: str | None) -> tuple[Holding, str]:
    """A repository, and the commit that it stands at.

    Raises:
        UserError: it cannot be read.
    """
    with asking("repo_id", repo_id, "model", revision, api.token):
        info = api.model_info(repo_id, revision=revision, files_metadata=True)
    commit = str(info.sha)

    def fetch(name: str) -> Path:
        with asking("repo_id", repo_id, "model", revision, api.token):
            return Path(hf_hub_download(repo_id, name, revision=commit, token=api.token))

    files = {file.rfilename: file.lfs.sha256 if file.lfs else None for file in info.siblings or []}
    return Holding(repo_id, files, fetch), commit


def read_manifest(holding: Holding) -> Manifest:
    """Its memshield.json.

    Raises:
        UserError: there is none, or it is not valid.
    """
    if NAME not in holding.files:
        raise UserError(
            "repo_id", f"{holding.name} has no {NAME}", "It was not published by MemShield."
        )
    return Manifest.read(holding.fetch(NAME))


def verify(holding: Holding) -> list[Check]:
    """All checks; the first that cannot be made ends them.

    Raises:
        UserError: a file cannot be read at all.
    """
    forbidden = tuple(_forbidden(holding.files))
    checks = [Check("only files that are published by MemShield", forbidden)]
    if any(not is_inside(name) for name in holding.files):
        return checks
    manifest = read_manifest(holding)
    checks.append(Check("every file is there and has its hash", tuple(_hashes(holding, manifest))))
    checks.append(Check("the audit is of these weights, and agrees with itself",
                        tuple(_audit(holding, manifest))))  # fmt: skip
    checks.append(Check("the card says the same", tuple(_card(holding, manifest))))
    return checks


def _forbidden(names: Iterable[str]) -> Iterator[str]:
    for name in names:
        if not is_inside(name):
            yield f"{name!r} leads out of the folder"
        elif not is_allowed(name) and name not in REPOSITORY_FILES:
            yield f"{name} is no file that is published"


def _hashes(holding: Holding, manifest: Manifest) -> Iterator[str]:
    for name, digest in manifest.files.items():
        if name not in holding.files or not is_inside(name):
            yield f"{name} is missing"
        elif (holding.files[name] or file_sha256(holding.fetch(name))) != digest:
            yield f"{name} is another file than the one that was published"
    for name in holding.files.keys() - manifest.files.keys() - {NAME, CARD, *REPOSITORY_FILES}:
        yield f"{name} is not listed in {NAME}"


def _audit(holding: Holding, manifest: Manifest) -> Iterator[str]:
    report, path = manifest.audit, f"{EVIDENCE}/{REPORT}"
    if report is None:
        if path in holding.files:
            yield f"{path} is there, and {NAME} knows of no audit"
        return
    if report.target.weights != manifest.weights:
        yield "the audit is of other weights"
    if path not in holding.files or Report.read(holding.fetch(path)) != report:
        yield f"{path} is not the audit of {NAME}"
    if report.verdict != verdict(report.generated, report.headline):
        yield "the verdict does not follow from the figures"
    for name, one in {"": report, **manifest.beside}.items():
        said = one.headline
        if None in (said.share, said.control, said.excess):
            continue
        difference = (said.share or 0.0) - (said.control or 0.0)
        if abs(difference - (said.excess or 0.0)) > _ROUNDING:
            yield f"the excess{f' of {name}' if name else ''} is not share minus chance"


def _card(holding: Holding, manifest: Manifest) -> Iterator[str]:
    if CARD not in holding.files:
        yield f"{CARD} is missing"
        return
    path = holding.fetch(CARD)
    if path.stat().st_size > _LARGEST_TEXT:
        yield f"{CARD} is too large to be a card"
        return
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        found = ModelCard(text).data.to_dict()
    except ValueError as error:
        yield f"{CARD} has no valid metadata: {' '.join(str(error).split())[:200]}"
        return
    expected = metadata_of(manifest, "").to_dict()
    for key in OWN_KEYS:
        if _figures(found.get(key)) != _figures(expected.get(key)):
            yield f"{key} says {_short(found.get(key))}, {NAME} {_short(expected.get(key))}"
    if manifest.audit is not None and manifest.audit.verdict not in text.replace("\\", ""):
        yield "the card does not hold the verdict of the audit"


def _figures(value: Any) -> Any:
    """A model's index without its name, which is the repository's and may change."""
    if isinstance(value, list) and value and isinstance(value[0], dict) and "results" in value[0]:
        return value[0]["results"]
    return value


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) < 80 else text[:77] + "..."
