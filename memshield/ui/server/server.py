"""What all handlers share: where the page runs, who visits it, and the jobs."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

import gradio as gr

from memshield.errors import UserError
from memshield.forecast.flavours import flavour_of
from memshield.forecast.hardware import Machine, this_machine
from memshield.forecast.prices import HubPrices
from memshield.hub.account import account_of, api_for, require_token
from memshield.hub.session import steady_session
from memshield.jobs.service import Jobs
from memshield.network import asking
from memshield.ui.server.deployment import Deployment
from memshield.ui.server.scopes import JOBS_SCOPE
from memshield.ui.server.visitor import LOCAL, LONGEST_SECONDS, Visitor, Visitors

_SILENCE = 5.0
KEPT_SECONDS = 3600.0
"""How long a token that does not tell its expiry is kept for waiting jobs."""


@dataclass(frozen=True)
class Server:
    """The page's server.

    Attributes:
        deployment: where it runs.
        jobs: of all owners.
        visitors: identifies who sent a request.
        machine: that trains.
        flavour: the Hub's name of its hardware; None at home, or if unknown.
        prices: of the Hub's hardware.
    """

    deployment: Deployment
    jobs: Jobs
    visitors: Visitors
    machine: Machine
    flavour: str | None = None
    prices: HubPrices = field(default_factory=HubPrices)

    @classmethod
    def open(cls, deployment: Deployment) -> Server:
        """Open the job store and inspect the machine."""
        deployment.root.mkdir(parents=True, exist_ok=True)
        jobs, machine = Jobs(deployment.root, store=deployment.store), this_machine()
        stated = os.environ.get("CPU_CORES", "")
        flavour = flavour_of(machine, stated) if deployment.on_space else None
        return cls(deployment, jobs, Visitors(deployment.on_space), machine, flavour)

    @property
    def offers_jobs_first(self) -> bool:
        """Whether this is a Space without a GPU."""
        return self.deployment.on_space and not self.machine.gpus

    def visitor(self, token: gr.OAuthToken | None) -> Visitor:
        """Identify the visitor, and keep an owner's token for the owner's jobs.

        Raises:
            UserError: the Hub does not know the token, or cannot be asked.
        """
        visitor = self.visitors.of(token.token if token is not None else None)
        if visitor.owner == LOCAL:
            return Visitor(LOCAL, self.jobs.tokens.of(LOCAL))
        if visitor.owner and isinstance(visitor.token, str):
            was_known = self.jobs.tokens.of(visitor.owner) is not None
            # Whoever waits in the queue behind a long training may have closed the page.
            now, good_until = time.time(), token.expires_at if token is not None else 0
            until = min(good_until or now + KEPT_SECONDS, now + LONGEST_SECONDS)
            self.jobs.tokens.keep(visitor.owner, visitor.token, until)
            if token is not None and JOBS_SCOPE in str(token.scope or "").split():
                # Apart: another browser of the same person may have signed in without it.
                self.jobs.places.tokens.keep(visitor.owner, visitor.token, until)
            if not was_known:
                self.jobs.scheduler.wake()  # jobs that wait for the token may start now
        return visitor

    def use_token(self, text: object) -> str:
        """Keep a token that the one user at home typed, in memory alone.

        Returns:
            The name of its account.

        Raises:
            UserError: visitors sign in here, the Hub does not accept the token or cannot be
                asked, or it may only read.
        """
        if self.deployment.on_space:
            raise UserError("HF_TOKEN", "tokens are not taken here", "Sign in instead.")
        token = require_token(text.strip() if isinstance(text, str) else "")
        with asking("HF_TOKEN", "this token"), steady_session(silence=_SILENCE):
            name = account_of(api_for(token)).name
        if (before := self.jobs.tokens.of(LOCAL)) is not None:
            self.jobs.tokens.forget(before)  # which was not the right one
        self.jobs.tokens.keep(LOCAL, str(token), time.time() + LONGEST_SECONDS)
        self.jobs.scheduler.wake()
        return name

    def sign_out(self, token: str) -> None:
        """Forget a token: a waiting job that needs it asks its owner to sign in again.

        A running job has its own copy, in its environment.
        """
        self.visitors.sign_out(token)
        self.jobs.tokens.forget(token)
        self.jobs.places.tokens.forget(token)

    def owner(self, token: gr.OAuthToken | None) -> str:
        """The visitor's name as an owner.

        Raises:
            UserError: the visitor is signed out.
        """
        return self.visitor(token).require_owner()

    def find_owner(self, token: gr.OAuthToken | None) -> str | None:
        """The visitor's name as an owner, or None; an unknown token is reported in a warning."""
        try:
            return self.visitor(token).owner
        except UserError as error:
            warn(error)
            return None

    def run_folder(self, owner: str, job: str) -> Path:
        """The run directory of an owner's job.

        Raises:
            UserError: the owner has no such job.
        """
        return self.jobs.folders.run(self.jobs.get(owner, job)).path


def warn(error: UserError) -> None:
    """Show an error in a passing message, beside what the page shows."""
    gr.Warning(error.on_page)
