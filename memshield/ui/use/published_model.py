"""What the tab for published models does: look one up, let the server draw, follow that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from memshield.config.file import make_config, read_yaml
from memshield.errors import UserError
from memshield.hub.account import api_for
from memshield.hub.catalog.access import require_id
from memshield.hub.contents import CARD
from memshield.hub.manifest import Manifest
from memshield.hub.provenance import is_from
from memshield.hub.verify import Check, on_hub, read_manifest, verify
from memshield.jobs.admission import require_allowed
from memshield.jobs.records import LOCAL
from memshield.jobs.requests import Errand
from memshield.jobs.service import Jobs
from memshield.network import NO_ANSWER, Token, TryAgainError
from memshield.rundir import RunDir
from memshield.runs.publication import read_publication
from memshield.sampling.arguments import Asked
from memshield.sampling.record import Samples, read_samples
from memshield.sampling.request import ON_PAGE, Wish, make_wish
from memshield.ui.server.visitor import Visitor


@dataclass(frozen=True)
class Published:
    """A published model that was looked at.

    Attributes:
        repo_id, commit: which.
        checks: all that were made.
        manifest: what is claimed of it; None where a check failed, and nothing is believed.
        card: its text; "" likewise.
    """

    repo_id: str
    commit: str
    checks: Sequence[Check]
    manifest: Manifest | None
    card: str

    @property
    def problems(self) -> list[UserError]:
        """What the checks found."""
        return [
            UserError("repo_id", problem, "Do not use this model; ask its owner.")
            for check in self.checks
            for problem in check.problems
        ]


def look_up(text: str | None, token: Token) -> Published:
    """Verify a published model without its weights, which the Hub's own hashes stand for.

    Args:
        text: as a visitor gave it.
        token: of the visitor.

    Raises:
        UserError: it is no id, cannot be read, or was not published by MemShield.
    """
    if not (text or "").strip():
        raise UserError("repo_id", "is empty", "Give the id of a published model: owner/name.")
    repo_id = require_id(str(text), "model", "repo_id")
    holding, commit = on_hub(api_for(token), repo_id, None)
    checks = verify(holding)
    if any(check.problems for check in checks):
        return Published(repo_id, commit, checks, None, "")
    card = holding.fetch(CARD).read_text(encoding="utf-8", errors="replace")
    return Published(repo_id, commit, checks, read_manifest(holding), card)


def wish_on_page(
    prompts: str | None, number: object, steps: object, seed: object, text: bool
) -> Wish:
    """What a visitor asks for.

    Args:
        prompts: one a line; ignored for models without text, whose page has no input for it.
        number, steps, seed: as they came.
        text: whether the model is prompted.

    Raises:
        UserError: everything that is wrong with it.
    """
    lines = str(prompts or "").splitlines() if text else []
    wish = make_wish(lines, number, steps, seed, ON_PAGE)
    wish.require_fits(text)
    return wish


def generate(jobs: Jobs, visitor: Visitor, published: Published, wish: Wish) -> str:
    """Queue pictures of a model that holds; they are compared where the visitor trained it.

    Raises:
        UserError: the visitor is signed out, or has pictures made already.
    """
    owner = visitor.require_owner()
    manifest = published.manifest
    assert manifest is not None
    return jobs.errands.sample(
        owner,
        published.repo_id,
        published.commit,
        wish,
        against=own_run(jobs, owner, manifest),
        needs_token=owner != LOCAL
        and not all(map(_is_open, _repositories(published.repo_id, manifest))),
    )


def own_run(jobs: Jobs, owner: str, manifest: Manifest) -> str | None:
    """Id of the owner's newest run that a model came from; None where there is none."""
    for job in jobs.list(owner):
        run = jobs.folders.run(job)
        if is_from(manifest, run, thorough=False) and _is_allowed(jobs, owner, run):
            return job.id
    return None


def _is_allowed(jobs: Jobs, owner: str, run: RunDir) -> bool:
    """Whether the pictures of a run may be looked at: an upload may be gone since."""
    try:
        require_allowed(make_config(read_yaml(run.config)), owner, jobs.folders)
    except UserError:
        return False
    return True


def published_by(jobs: Jobs, owner: str) -> list[str]:
    """Ids of the models that an owner's runs have published, newest run first."""
    found = (read_publication(jobs.folders.run(job)) for job in jobs.list(owner))
    names = [str(one["repo_id"]) for one in found if one.get("state") == "done"]
    return list(dict.fromkeys(names))


def _repositories(repo_id: str, manifest: Manifest) -> list[str]:
    base = manifest.base.name if manifest.base and manifest.training.kind == "lora" else None
    return [repo_id, *([base] if base else [])]


def _is_open(name: str) -> bool:
    """Whether everybody may read a repository: then pictures of it need not wait for a token."""
    try:
        return not api_for(False).model_info(name).gated
    except (HfHubHTTPError, OfflineModeIsEnabled, TryAgainError, *NO_ANSWER):
        return False


@dataclass(frozen=True)
class Following:
    """An owner's newest errand for pictures, as it is now.

    Attributes:
        errand: see there.
        asked: what was asked for.
        samples: what there is; None before anything was written.
    """

    errand: Errand
    asked: Asked
    samples: Samples | None

    @property
    def folder(self) -> Path:
        """Where the pictures lie."""
        return self.errand.results

    @property
    def marks(self) -> tuple[str, str]:
        """Other ones mean that there is something new to say of it, and other pictures."""
        errand, samples = self.errand, self.samples
        pictures = () if samples is None else samples.pictures
        told = samples and samples.model_copy(update={"pictures": ()})
        return (
            repr((errand.id, errand.progress, errand.position, told, len(pictures))),
            repr((errand.id, errand.busy, samples and samples.not_compared, pictures)),
        )


def following(jobs: Jobs, owner: str) -> Following | None:
    """The newest errand of an owner; None where there is none."""
    errand = jobs.errands.view(owner, "sample")
    if errand is None or errand.asked is None:
        return None
    return Following(errand, errand.asked, read_samples(errand.results))
