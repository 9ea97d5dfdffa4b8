"""Verifies that a published model is consistent with itself: files, hashes, claims and pages.

That does not say who made it, nor that its figures were measured.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from memshield import __version__
from memshield.audit.report import PAGE, REPORT, Report
from memshield.audit.verdict import limits_of, verdict
from memshield.config.flags import given, plain_parser
from memshield.digests import LORA, file_sha256
from memshield.errors import UserError
from memshield.families.lora_export import differences
from memshield.hub import model_index as index_of
from memshield.hub.account import api_for
from memshield.hub.allowed_files import (
    CARD,
    EVIDENCE,
    EXPORTED,
    REPOSITORY_FILES,
    is_allowed,
    is_inside,
)
from memshield.hub.card_check import Findings, check_card, check_page
from memshield.hub.catalog.access import require_id
from memshield.hub.catalog.table import plain
from memshield.hub.consent import NAMES
from memshield.hub.content_check import problems_of_file
from memshield.hub.listing import list_files
from memshield.hub.manifest import NAME, Manifest
from memshield.network import asking
from memshield.quantities import size

_ROUNDING = 1e-5
_LARGEST_TEXT = 20_000_000
_LARGEST = {NAME: 4_000_000, CARD: 300_000}
"""Bytes of files that are read whole and shown, also of a stranger's repository."""
_LARGEST_TOGETHER = 200_000_000
"""Bytes of all that is fetched to be read: of tokenizers and pictures there may be many."""
_LARGEST_COMPARED = 1_000_000_000
"""Bytes of a LoRA and its exports, which are fetched and held in memory for whoever asks."""
_WEIGHTS = ".safetensors"


@dataclass(frozen=True)
class VerificationTarget:
    """A model to verify: a folder, or a repository at a commit.

    Attributes:
        name: as the user called it.
        files: SHA-256 by path, where it is known without reading the file; else None.
        fetch: a file by its path, on this machine.
        local: whether all files are on this machine.
        repo_id: of a repository.
        too_large: files that are larger than what they are said to be can be.
        sizes: of the files of a repository, in bytes.
    """

    name: str
    files: Mapping[str, str | None]
    fetch: Callable[[str], Path]
    local: bool = False
    too_large: tuple[str, ...] = ()
    repo_id: str | None = None
    sizes: Mapping[str, int] = field(default_factory=dict)


State = Literal["ok", "failed", "not checked"]


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        what: was checked.
        problems: found; none where it holds.
        unchecked: what of it could not be checked, or is nothing that MemShield wrote.
    """

    what: str
    problems: tuple[str, ...]
    unchecked: tuple[str, ...] = ()

    @property
    def state(self) -> State:
        """How it went."""
        return "failed" if self.problems else "not checked" if self.unchecked else "ok"


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
        info = api.model_info(repo_id, revision=revision)
        commit = str(info.sha)
        listed = list_files(api, repo_id, commit)

    def fetch(name: str) -> Path:
        with asking("repo_id", repo_id, "model", revision, api.token):
            return Path(hf_hub_download(repo_id, name, revision=commit, token=api.token))

    sizes = {path: file.size for path, file in listed.items()}
    read = {path: length for path, length in sizes.items() if not path.endswith(_WEIGHTS)}
    large = tuple(
        path for path, length in read.items() if length > _LARGEST.get(path, _LARGEST_TEXT)
    )  # fmt: skip
    if sum(read.values()) > _LARGEST_TOGETHER:
        large += ("what is there beside the weights",)
    files = {path: file.sha256 for path, file in listed.items()}
    target = VerificationTarget(
        repo_id, files, fetch, too_large=large, repo_id=info.id, sizes=sizes
    )
    return target, commit


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
    if EXPORTED.keys() & manifest.files.keys():
        checks.append(Check("the LoRA for other tools is that for diffusers",
                            *_exported(holding, manifest)))  # fmt: skip
    checks.append(Check("the audit is of these weights, and agrees with itself",
                        *_audit(holding, manifest)))  # fmt: skip
    checks.append(Check("the audit's page is the one that the report gives",
                        *_page(holding, manifest)))  # fmt: skip
    checks.append(Check("the card is the one that the claims give", *_card(holding, manifest)))
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
    if manifest.vae is not None and manifest.vae.name is not None:
        try:
            validate_repo_id(manifest.vae.name)
        except HFValidationError:
            yield f"{NAME} names a VAE that is no id on the Hub"
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


def _exported(holding: VerificationTarget, manifest: Manifest) -> Findings:
    """Whatever was audited, it is what this file holds: it is made anew and compared."""
    if LORA not in manifest.files:
        return Findings((f"there is none without {LORA}",))
    names = sorted(EXPORTED.keys() & manifest.files.keys())
    together = sum(holding.sizes.get(name, 0) for name in (LORA, *names))
    if together > _LARGEST_COMPARED:
        words = f"they have {size(together)} together: `pull` fetches and compares them"
        return Findings((), (words,))
    lora = holding.fetch(LORA)
    return Findings(tuple(
        f"{name} {difference}"
        for name in names
        for difference in differences(
            lora, manifest.pipeline_class, EXPORTED[name], holding.fetch(name)
        )
    ))  # fmt: skip


def _audit(holding: VerificationTarget, manifest: Manifest) -> Findings:
    problems = [
        f"{NAME} names a confirmed warning that there is not" for name in manifest.confirmed
        if name not in NAMES
    ]  # fmt: skip
    report, path = manifest.audit, f"{EVIDENCE}/{REPORT}"
    if report is None:
        if path in holding.files:
            problems.append(f"{path} is there, and {NAME} knows of no audit")
        return Findings(tuple(problems))
    if report.target.weights != manifest.weights:
        problems.append("the audit is of other weights")
    if path not in holding.files or Report.read(holding.fetch(path)) != report:
        problems.append(f"{path} is not the audit of {NAME}")
    unchecked = []
    for name, one in {"": report, **manifest.beside}.items():
        of_name = f" of {name}" if name else ""
        said = one.headline
        if None not in (said.share, said.control, said.excess):
            difference = (said.share or 0.0) - (said.control or 0.0)
            if abs(difference - (said.excess or 0.0)) > _ROUNDING:
                problems.append(f"the excess{of_name} is not share minus chance")
        follow = {
            "the verdict": one.verdict == verdict(one.generated, one.headline),
            "the list of limits": one.limits == limits_of(one.generated, one.data),
        }
        for text, follows in follow.items():
            words = f"{text}{of_name} does not follow from the figures"
            if not follows and manifest.memshield != __version__:
                unchecked.append(f"{words} as MemShield {__version__} puts them")
            elif not follows:
                problems.append(words)
    return Findings(tuple(problems), tuple(unchecked))


def _page(holding: VerificationTarget, manifest: Manifest) -> Findings:
    path = f"{EVIDENCE}/{PAGE}"
    if (manifest.audit is not None) != (path in holding.files):
        return Findings((f"{path} is {'missing' if manifest.audit else 'there without an audit'}",))
    if manifest.audit is None:
        return Findings()
    return check_page(holding.fetch(path).read_text(encoding="utf-8", errors="replace"), manifest)


def _card(holding: VerificationTarget, manifest: Manifest) -> Findings:
    if CARD not in holding.files:
        return Findings((f"{CARD} is missing",))
    path = holding.fetch(CARD)
    if path.stat().st_size > _LARGEST[CARD]:
        return Findings((f"{CARD} is too large to be a card",))
    text = path.read_text(encoding="utf-8", errors="replace")
    return check_card(text, manifest, holding.repo_id)


OK, FAILED, NOT_CHECKED = 0, 1, 3
"""Exit codes; 2 is an error of the call."""


def main(argv: Sequence[str]) -> int:
    """Check a repository, or a folder; `FAILED` where a check fails."""
    own = given(
        reading_parser("verify", "Check that a published model is consistent with itself."),
        argv,
    )
    name = own["repo_id"]
    # What looks like an id is one: a folder of that name is named with ./ before it.
    if Path(name).is_dir() and (name.count("/") != 1 or name[0] in "./~"):
        if own["revision"]:
            raise UserError("--revision", f"{name} is a folder, which has none", "Leave it out.")
        holding = in_folder(Path(name))
    else:
        holding, _ = on_hub(api_for(), require_id(name, "model", "repo_id"), own["revision"])
    checks = verify(holding)
    words = {"ok": "ok", "failed": "FAILED", "not checked": "NOT CHECKED"}
    for check in checks:
        print(f"{words[check.state]:<12} {check.what}")
        for line in (*check.problems, *check.unchecked):  # strangers' words may stand in it
            print(f"             {plain(line)}")
    print(conclusion(checks))
    if any(check.problems for check in checks):
        return FAILED
    return NOT_CHECKED if any(check.unchecked for check in checks) else OK


def conclusion(checks: Sequence[Check]) -> str:
    """What all checks together say, and what they do not."""
    if any(check.problems for check in checks):
        return "The repository contradicts itself: do not use the model, and ask its owner."
    but = " as far as it was checked" if any(check.unchecked for check in checks) else ""
    return (
        f"The repository is consistent with itself{but}. That does not say who made it, nor that "
        "its figures were measured: for that, audit it on the training pictures."
    )


def reading_parser(name: str, description: str) -> argparse.ArgumentParser:
    """A parser of the commands that read a published model."""
    parser = plain_parser(f"python -m memshield {name}", description)
    parser.add_argument("repo_id", metavar="OWNER/NAME", help="repository")
    parser.add_argument(
        "--revision", metavar="NAME", help="tag, branch or commit; the newest without"
    )
    return parser
