"""Publishes a run: check, assemble, commit, tag. Repeated, it continues where it stopped.

Training and publishing are separate: nothing here touches the run's state, and publish.json says
how far it got.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout
from huggingface_hub import HfApi

from memshield.audit.report import Report
from memshield.config.file import Config, make_config, read_yaml
from memshield.errors import UserError, UserErrors
from memshield.hub.account import account_of, api_for
from memshield.hub.allowed_files import CARD
from memshield.hub.card import require_valid
from memshield.hub.catalog.access import require_id
from memshield.hub.evidence import audit_of_model, beside_of
from memshield.hub.listing import list_files
from memshield.hub.manifest import Manifest
from memshield.hub.publish import upload
from memshield.hub.publish.assemble import Claims, assemble
from memshield.hub.publish.confirmations import require_confirmed, warnings_of
from memshield.hub.publish.destination import FIELD, Destination, find_destination
from memshield.hub.publish.sources import look_up_origins
from memshield.hub.publish.upload import CommitFiles
from memshield.hub.refusals import REFUSALS, noted, of_publishing
from memshield.hub.retries import Clock, RetryPolicy, SystemClock
from memshield.hub.session import steady_session
from memshield.hub.verify import on_hub, verify
from memshield.network import Token
from memshield.rundir import RunDir, publish_lock_path
from memshield.runs.publication import Publication, Step, command, note_model

log = logging.getLogger("memshield")
ResultT = TypeVar("ResultT")
_ASIDE = ".publishing"
"""Not a name that training takes for its own leftovers and removes."""


@dataclass(frozen=True)
class PublishedModel:
    """A publication that is done.

    Attributes:
        repo_id, tag, commit, url: where.
        public: whether everybody can read it.
        changed: whether anything was; not where this very model is there already.
        weights: digest of the model's; see `memshield.digests.weights_sha256`.
    """

    repo_id: str
    tag: str
    commit: str
    url: str
    public: bool
    changed: bool
    weights: str = ""


@dataclass
class Publisher:
    """Publishes one run.

    Args:
        run: with a finished model.
        config: its settings, with those of publishing.
        beside: audits to set beside the model's; see `evidence.beside_of`.
        token: see `memshield.network.Token`.
        clock, patience: for waiting where the Hub is busy.
    """

    run: RunDir
    config: Config
    beside: Sequence[str] = ()
    token: Token = None
    clock: Clock = field(default_factory=SystemClock)
    patience: RetryPolicy = field(default_factory=RetryPolicy)
    _publication: Publication | None = field(default=None, init=False)

    def publish(self) -> PublishedModel:
        """Make the repository hold this model, and tag it.

        Raises:
            UserErrors: what has to be mended or confirmed; nothing was sent.
            UserError: the Hub refuses, or does not answer; publish.json says so.
        """
        require_model(self.run)
        with _alone(self.run), steady_session(True, self.patience.silence):
            state = self._publication = Publication(
                self.run, str(self.config.hub_model_id), self._command
            )
            folder = self.run.model.stat().st_ino
            try:
                published = self._publish()
            except UserError as error:
                state.ended("failed", str(error), problems=noted(error))
                raise
            except REFUSALS as error:
                refused = of_publishing(error, self._command)
                state.ended("failed", str(refused), problems=noted(refused))
                raise refused from None
            finally:
                shutil.rmtree(self._folder, ignore_errors=True)
                state.broke_off()
            state.ended(
                "done", step="done", tag=published.tag, commit=published.commit, url=published.url,
                repo_id=published.repo_id, public=published.public, weights=published.weights,
            )  # fmt: skip
            if self.run.model.stat().st_ino != folder:  # a training ended meanwhile
                note_model(self.run)
            return published

    def preview(self, folder: Path) -> tuple[Destination, Manifest]:
        """Assemble what would be published into a new folder, and send nothing.

        Raises:
            UserErrors: as `publish`.
        """
        require_model(self.run)
        with steady_session(silence=self.patience.silence):
            try:
                api = api_for(self.token)
                destination, claims = self._check(api)
                folder.mkdir(parents=True)
                return destination, assemble(self.run, claims, destination.repo_id, folder)
            except UserError:
                raise
            except REFUSALS as error:
                raise of_publishing(error, self._command) from None

    def draft(self, folder: Path) -> Manifest:
        """Assemble what would be published into a new folder, for an owner still unknown.

        It needs no account. For a run on the app's own pictures and models it needs no network
        either.

        Raises:
            UserError: where the model comes from cannot be asked, or a file must not be published.
        """
        require_model(self.run)
        try:
            repo_id = require_id(self.config.hub_model_id or "", "model", FIELD)
        except UserError:
            repo_id = f"you/{self.run.path.resolve().name}"
        with steady_session(silence=self.patience.silence):
            try:
                origins = replace(self.patience, attempts=1).keep_trying(
                    lambda: look_up_origins(api_for(self.token), self.config),
                    self.clock,
                    self._waits,
                )
            except REFUSALS as error:
                raise of_publishing(error, self._command) from None
        report, _ = audit_of_model(self.run)
        folder.mkdir(parents=True)
        beside = beside_of(self.run, self.beside, report)
        return assemble(self.run, Claims(self.config, origins, report, beside, ()), repo_id, folder)

    def _publish(self) -> PublishedModel:
        api = api_for(self.token)
        destination, claims = self._check(api)
        repo_id = destination.repo_id
        self._at("assembling")
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir()
        manifest = assemble(self.run, claims, repo_id, self._folder)
        parcel, tag = CommitFiles.of(self._folder, manifest, not destination.public), manifest.tag
        if destination.exists:
            there = self._try(lambda: self._is_there(api, repo_id, tag, parcel))
            if there is not None:
                return self._published(destination, manifest, there, changed=False)
        card = (self._folder / CARD).read_text(encoding="utf-8")
        self._try(lambda: require_valid(card))
        self._at("creating")
        self._try(lambda: upload.create(api, repo_id, parcel))
        self._at("uploading", files=len(parcel.digests), bytes=parcel.size)
        title = f"Publish with MemShield ({tag})"
        commit = self._try(lambda: upload.commit(api, repo_id, parcel, title))
        self._at("verifying")
        self._try(lambda: upload.require_whole(api, repo_id, commit, parcel))
        self._at("tagging")
        self._try(lambda: upload.tag_commit(api, repo_id, tag, commit))
        return self._published(destination, manifest, commit, changed=True)

    def _is_there(self, api: HfApi, repo_id: str, tag: str, parcel: CommitFiles) -> str | None:
        """The commit at the tag, if this model is there and is the newest; a person may have
        written more into its card."""
        there = upload.tagged(api, repo_id, tag)
        if there is None:
            return None
        head = api.model_info(repo_id).sha
        files = list_files(api, repo_id, head)
        if not parcel.are(files, but=frozenset({CARD})):
            return None
        if not parcel.are(files):
            checks = verify(on_hub(api, repo_id, head)[0])
            if any(check.problems for check in checks):
                return None
        return str(there.sha)

    def _check(self, api: HfApi) -> tuple[Destination, Claims]:
        """All that has to be mended or confirmed, at once."""
        config = self.config
        account = self._try(lambda: account_of(api))
        origins = self._try(lambda: look_up_origins(api, config))
        errors: list[UserError] = []
        report, why_none = audit_of_model(self.run)
        beside: dict[str, Report] = {}
        destination = None
        try:
            beside = beside_of(self.run, self.beside, report)
        except UserError as error:
            errors.append(error)
        try:
            destination = self._try(
                lambda: find_destination(
                    api,
                    account,
                    config.hub_model_id,
                    config.hub_private_repo,
                    origins.private,
                )
            )
        except UserError as error:
            errors.append(error)
        public = destination.public if destination else config.hub_private_repo is False
        warned = warnings_of(report, why_none, config.memorization_budget, public, origins)
        confirmed = config.hub_confirm or []
        errors += require_confirmed(warned, confirmed)
        if errors:
            raise UserErrors(errors)
        assert destination is not None
        names = tuple(sorted({one.name for one in warned}))
        if origins.license is not None and origins.license.terms:
            log.warning("License of the model: %s. %s", origins.license, origins.license.terms)
        return destination, Claims(config, origins, report, beside, names)

    def _published(
        self, destination: Destination, manifest: Manifest, commit: str, changed: bool
    ) -> PublishedModel:
        repo_id = destination.repo_id
        url = f"{api_for(False).endpoint}/{repo_id}"
        return PublishedModel(
            repo_id, manifest.tag, commit, url, destination.public, changed, manifest.weights
        )

    @property
    def _command(self) -> str:
        return command(self.run, self.config, self.beside)

    @property
    def _folder(self) -> Path:
        return self.run.path / _ASIDE

    def _at(self, step: Step, **values: object) -> None:
        if self._publication is not None:
            self._publication.at(step, **values)
        log.info("Publishing: %s", step)

    def _try(self, call: Callable[[], ResultT]) -> ResultT:
        return self.patience.keep_trying(call, self.clock, self._waits)

    def _waits(self, words: str) -> None:
        log.warning("%s", words)
        if self._publication is not None:
            self._publication.waits(words)


def open_to_publish(path: Path, **changes: object) -> tuple[RunDir, Config]:
    """A run and its settings, with those of publishing as they are given now.

    Args:
        path: the run directory.
        changes: settings that differ from the run's own.

    Raises:
        UserError: there is no run, or a setting is wrong.
    """
    run = RunDir(path)
    if not run.is_run():
        raise UserError("run", f"{path} holds no run", "Give the output_dir of a training.")
    return run, make_config({**read_yaml(run.config), **changes})


def require_model(run: RunDir) -> None:
    """Refuse a run without a finished model.

    Raises:
        UserError: it has none.
    """
    if not run.model.is_dir():
        raise UserError(
            "run", f"{run.path} has no model/ yet", "Train it to its end, or promote a round."
        )


@contextmanager
def _alone(run: RunDir) -> Iterator[None]:
    try:
        with FileLock(publish_lock_path(run), timeout=0):
            yield
    except Timeout:
        raise UserError("run", f"{run.path} is being published already", "Wait for it.") from None
