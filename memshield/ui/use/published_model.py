"""Verifies a published model, lets the server draw with it, and follows that process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from memshield.errors import UserError, collect_errors
from memshield.hub.account import api_for
from memshield.hub.allowed_files import CARD
from memshield.hub.catalog.access import require_id
from memshield.hub.manifest import Manifest
from memshield.hub.provenance import is_from
from memshield.hub.verify import Check, on_hub, read_manifest, verify
from memshield.jobs.admission import require_run_allowed
from memshield.jobs.records import LOCAL
from memshield.jobs.requests import Request
from memshield.jobs.service import Jobs
from memshield.network import NO_ANSWER, Token, TryAgainError
from memshield.rundir import RunDir
from memshield.runs.publication import published_in, read_publication
from memshield.sampling.record import Samples, read_samples
from memshield.sampling.request import ON_PAGE, ImageRequest, SampleArguments, make_request
from memshield.ui.server.visitor import Visitor


@dataclass(frozen=True)
class VerifiedModel:
    """A published model with its checks.

    Attributes:
        repo_id, commit: identify it.
        checks: all of them.
        manifest: what the model claims; None if a check failed, for then no claim is trusted.
        card: its text; "" if a check failed.
    """

    repo_id: str
    commit: str
    checks: Sequence[Check]
    manifest: Manifest | None
    card: str

    @property
    def problems(self) -> list[UserError]:
        """The findings of the checks."""
        return [
            UserError("repo_id", problem, "Do not use this model; ask its owner.")
            for check in self.checks
            for problem in check.problems
        ]


def verify_model(text: str | None, token: Token) -> VerifiedModel:
    """Verify a published model, with the Hub's hashes instead of its weights.

    Args:
        text: the typed id.
        token: of the visitor.

    Raises:
        UserError: it is not an id, cannot be read, or was not published by MemShield.
    """
    if not (text or "").strip():
        raise UserError("repo_id", "is empty", "Type the id of a published model: owner/name.")
    repo_id = require_id(str(text), "model", "repo_id")
    holding, commit = on_hub(api_for(token), repo_id, None)
    checks = verify(holding)
    if any(check.problems for check in checks):
        return VerifiedModel(repo_id, commit, checks, None, "")
    card = holding.fetch(CARD).read_text(encoding="utf-8", errors="replace")
    return VerifiedModel(repo_id, commit, checks, read_manifest(holding), card)


def read_request(
    prompts: str | None, number: object, steps: object, seed: object, text: bool
) -> ImageRequest:
    """Read the inputs of a request for pictures.

    Args:
        prompts: one a line; ignored for a model without prompts, which has no such input.
        number, steps, seed: of any type.
        text: whether the model takes prompts.

    Raises:
        UserError: naming every problem.
    """
    lines = str(prompts or "").splitlines() if text else []
    request = make_request(lines, number, steps, seed, ON_PAGE)
    request.require_fits(text)
    return request


def generate(jobs: Jobs, visitor: Visitor, published: VerifiedModel, request: ImageRequest) -> str:
    """Queue pictures of a verified model; its own trainer's are compared with the training set.

    Raises:
        UserError: the visitor is signed out, or has such a process already; or it is a LoRA whose
            base was withheld, and no run of the visitor's knows it.
    """
    owner = visitor.require_owner()
    manifest = published.manifest
    assert manifest is not None
    against = find_own_run(jobs, owner, manifest)
    if manifest.lacks_base and against is None:
        raise UserError(
            "repo_id",
            "this is a LoRA, and its owner does not say for which model",
            "It can be drawn with by its owner, or where that model is known.",
        )
    return jobs.requests.sample(
        owner,
        published.repo_id,
        published.commit,
        request,
        against=against,
        needs_token=owner != LOCAL
        and not all(map(_is_open, _repositories(published.repo_id, manifest))),
    )


def find_own_run(jobs: Jobs, owner: str, manifest: Manifest) -> str | None:
    """Find the owner's newest run that a model came from, and return its id or None."""
    for job in jobs.list(owner):
        run = jobs.folders.run(job)
        if is_from(manifest, run, thorough=False) and _is_allowed(jobs, owner, run):
            return job.id
    return None


def _is_allowed(jobs: Jobs, owner: str, run: RunDir) -> bool:
    """Whether the pictures of a run may be read: an upload may have been deleted."""
    errors: list[UserError] = []
    with collect_errors(errors):
        require_run_allowed(run, owner, jobs.folders)
    return not errors


def published_by(jobs: Jobs, owner: str) -> list[str]:
    """List the ids of models that the owner's runs published, newest run first."""
    records = (read_publication(jobs.folders.run(job)) for job in jobs.list(owner))
    return list(dict.fromkeys(name for record in records for name in published_in(record)))


def _repositories(repo_id: str, manifest: Manifest) -> list[str]:
    if manifest.training.kind != "lora":
        return [repo_id]
    others = (one.name for one in (manifest.base, manifest.vae) if one is not None)
    return [repo_id, *(name for name in others if name is not None)]


def _is_open(name: str) -> bool:
    """Whether everybody may read a repository, so that drawing needs no token."""
    try:
        return not api_for(False).model_info(name).gated
    except (HfHubHTTPError, OfflineModeIsEnabled, TryAgainError, *NO_ANSWER):
        return False


@dataclass(frozen=True)
class GenerationRequest:
    """The state of an owner's newest process that draws pictures.

    Attributes:
        request: the process.
        arguments: the request.
        samples: the pictures so far; None before the first.
        run: what the owner calls the run that draws, or that the pictures are compared with.
    """

    request: Request
    arguments: SampleArguments
    samples: Samples | None
    run: str | None = None

    @property
    def folder(self) -> Path:
        """The folder of the pictures."""
        return self.request.results

    @property
    def marks(self) -> tuple[str, str]:
        """Keys of the progress and of the pictures, which change when these do."""
        request, samples = self.request, self.samples
        pictures = () if samples is None else samples.pictures
        told = samples and samples.model_copy(update={"pictures": ()})
        return (
            repr((request.id, request.progress, request.position, told, len(pictures), self.run)),
            repr((request.id, request.busy, samples and samples.not_compared, pictures, self.run)),
        )


def find_generation(jobs: Jobs, owner: str) -> GenerationRequest | None:
    """Find the owner's newest process that draws pictures."""
    request = jobs.requests.view(owner, "sample")
    if request is None or request.arguments is None:
        return None
    path = Path(request.arguments.against or request.arguments.target)
    titles = (job.title for job in jobs.list(owner) if jobs.folders.run(job).path == path)
    return GenerationRequest(
        request, request.arguments, read_samples(request.results), next(titles, None)
    )
