"""Verifies a published model: its files, their hashes, and its claims.

It proves that the files belong together, not who made them.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import HfApi, ModelCard, hf_hub_download
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from memshield import __version__
from memshield.audit.report import REPORT, Report, verdict
from memshield.config.flags import given, plain_parser
from memshield.digests import file_sha256
from memshield.errors import UserError
from memshield.hub import model_index as index_of
from memshield.hub.account import api_for
from memshield.hub.allowed_files import CARD, EVIDENCE, REPOSITORY_FILES, is_allowed, is_inside
from memshield.hub.card import OWN_KEYS, evidence_of, metadata_of
from memshield.hub.catalog.access import require_id
from memshield.hub.content_check import problems_of_file
from memshield.hub.manifest import NAME, Manifest
from memshield.network import asking

_ROUNDING = 1e-5
_LARGEST_TEXT = 20_000_000
_LARGEST = {NAME: 4_000_000, CARD: 300_000}
"""Bytes of files that are read whole and shown, also of a stranger's repository."""
_WEIGHTS = ".safetensors"


@dataclass(frozen=True)
class VerificationTarget:
    """A model to verify: a folder, or a repository at a commit.

    Attributes:
        name: as the user called it.
        files: SHA-256 by path, where it is known without reading the file; else None.
        fetch: a file by its path, on this machine.
        local: whether all files are on this machine.
        too_large: files that are larger than what they are said to be can be.
    """

    name: str
    files: Mapping[str, str | None]
    fetch: Callable[[str], Path]
    local: bool = False
    too_large: tuple[str, ...] = ()


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        what: was checked.
        problems: found; none where it holds.
    """

    what: str
    problems: tuple[str, ...]


def in_folder(folder: Path, names: Collection[str] | None = None) -> VerificationTarget:
    """A folder on this machine.

    Args:
        folder: with the files.
        names: of those that count; all without.

    Raises:
        UserError: there is none.
    """
    if not folder.is_dir():
        raise UserError("repo_id", f"there is no folder {folder}", "Give a folder or a Hub id.")
    found = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir()]
    inside = [name for name in found if not name.startswith(".cache/")]
    chosen = inside if names is None else [name for name in inside if name in names]
    return VerificationTarget(
        str(folder), dict.fromkeys(sorted(chosen)), folder.joinpath, local=True
    )


def on_hub(api: HfApi, repo_id: str, revision: str | None) -> tuple[VerificationTarget, str]:
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
    large = tuple(
        file.rfilename
        for file in info.siblings or []
        if not file.rfilename.endswith(_WEIGHTS)
        and (file.size or 0) > _LARGEST.get(file.rfilename, _LARGEST_TEXT)
    )
    return VerificationTarget(repo_id, files, fetch, too_large=large), commit


def read_manifest(holding: VerificationTarget) -> Manifest:
    """Its memshield.json.

    Raises:
        UserError: there is none, or it is not valid.
    """
    if NAME not in holding.files:
        raise UserError(
            "repo_id", f"{holding.name} has no {NAME}", "It was not published by MemShield."
        )
    return Manifest.read(holding.fetch(NAME))


def verify(holding: VerificationTarget) -> list[Check]:
    """Make all checks; the first that cannot be made ends them.

    Raises:
        UserError: a file cannot be read at all.
    """
    forbidden = (
        *_forbidden(holding.files), *(f"{name} is too large" for name in holding.too_large)
    )  # fmt: skip
    checks = [Check("only files that are published by MemShield", forbidden)]
    if holding.too_large or any(not is_inside(name) for name in holding.files):
        return checks
    manifest = read_manifest(holding)
    checks.append(Check("every file is there and has its hash", tuple(_hashes(holding, manifest))))
    if checks[-1].problems:
        return checks
    checks.append(Check("the model is whole, and runs no code of its own",
                        tuple(_model(holding, manifest))))  # fmt: skip
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


def _hashes(holding: VerificationTarget, manifest: Manifest) -> Iterator[str]:
    for name, digest in manifest.files.items():
        if name not in holding.files or not is_inside(name):
            yield f"{name} is missing"
        elif (holding.files[name] or file_sha256(holding.fetch(name))) != digest:
            yield f"{name} is another file than the one that was published"
    for name in holding.files.keys() - manifest.files.keys() - {NAME, CARD, *REPOSITORY_FILES}:
        yield f"{name} is not listed in {NAME}"


def _model(holding: VerificationTarget, manifest: Manifest) -> Iterator[str]:
    parts = None
    if index_of.NAME in manifest.files:
        try:
            kind, parts = index_of.read_index(
                holding.fetch(index_of.NAME).read_text(encoding="utf-8", errors="replace")
            )
        except ValueError as error:
            yield str(error)
            return
        if kind != manifest.pipeline_class:
            yield f"{index_of.NAME} says {kind}, {NAME} {manifest.pipeline_class}"
    if (parts is None) != (manifest.training.kind == "lora"):
        yield f"{NAME} says {manifest.training.kind}, and the files are not those of one"
    if manifest.base is not None and manifest.base.name is not None:
        try:
            validate_repo_id(manifest.base.name)
        except HFValidationError:
            # It is put into the code that people copy, and is what they will fetch.
            yield f"{NAME} names a base that is no id on the Hub"
    if manifest.dataset.on_hub and manifest.dataset.name is not None:
        try:
            validate_repo_id(manifest.dataset.name)
        except HFValidationError:
            # It is put into an address on the card, above the code that people copy.
            yield f"{NAME} names a dataset that is no id on the Hub"
    lacks = index_of.is_whole(manifest.files.keys(), parts)
    if lacks is not None:
        yield lacks
    for name in manifest.gallery:
        if name not in manifest.files:
            yield f"{name} of the gallery is not listed in {NAME}"
    for name in manifest.files:
        if holding.local or not name.endswith(_WEIGHTS):
            for problem in problems_of_file(holding.fetch(name).resolve(), name):
                yield f"{name} {problem}"


def _audit(holding: VerificationTarget, manifest: Manifest) -> Iterator[str]:
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


def _card(holding: VerificationTarget, manifest: Manifest) -> Iterator[str]:
    if CARD not in holding.files:
        yield f"{CARD} is missing"
        return
    path = holding.fetch(CARD)
    if path.stat().st_size > _LARGEST[CARD]:
        yield f"{CARD} is too large to be a card"
        return
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        found = ModelCard(text).data.to_dict()
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        yield f"{CARD} has no valid metadata: {' '.join(str(error).split())[:200]}"
        return
    keys = Counter(re.findall(r"^([\w-]+)\s*:", text.split("\n---", 1)[0], re.MULTILINE))
    for key in sorted(key for key, often in keys.items() if often > 1):
        yield f"{key} is said twice"
    expected = metadata_of(manifest, "").to_dict()
    missing = set(expected.get("tags", ())) - set(found.get("tags") or ())
    if missing:
        yield f"the tags lack {', '.join(sorted(missing))}"
    for key in OWN_KEYS:
        if _figures(found.get(key)) != _figures(expected.get(key)):
            yield f"{key} says {_short(found.get(key))}, {NAME} {_short(expected.get(key))}"
    # A person may write more, but not other figures; a comment is nothing that is read.
    shown = re.sub(r"<!--.*?(-->|$)", "", text, flags=re.DOTALL)
    if manifest.memshield == __version__ and evidence_of(manifest) not in shown:
        yield "the card does not hold the verdict and figures of the audit as they were published"


def _figures(value: Any) -> Any:
    """A model's index without its name, which is the repository's and may change."""
    if isinstance(value, list) and value and isinstance(value[0], dict) and "results" in value[0]:
        return value[0]["results"]
    return value


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) < 80 else text[:77] + "..."


def main(argv: Sequence[str]) -> int:
    """Check a repository, or a folder; 1 where a check fails."""
    own = given(
        reading_parser("verify", "Check that a published model is what it claims to be."),
        argv,
    )
    name = own["repo_id"]
    # What looks like an id is one: a folder of that name is named with ./ before it.
    if Path(name).is_dir() and (name.count("/") != 1 or name[0] in "./~"):
        holding = in_folder(Path(name))
    else:
        holding, _ = on_hub(api_for(), require_id(name, "model", "repo_id"), own["revision"])
    checks = verify(holding)
    for check in checks:
        print(f"{'FAILED' if check.problems else 'ok':<7} {check.what}")
        for problem in check.problems:
            print(f"        {problem}")
    return 1 if any(check.problems for check in checks) else 0


def reading_parser(name: str, description: str) -> argparse.ArgumentParser:
    """A parser of the commands that read a published model."""
    parser = plain_parser(f"python -m memshield {name}", description)
    parser.add_argument("repo_id", metavar="OWNER/NAME", help="repository")
    parser.add_argument(
        "--revision", metavar="NAME", help="tag, branch or commit; the newest without"
    )
    return parser
