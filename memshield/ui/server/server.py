"""What all handlers of the page share: where it runs, whose visit it is, and the jobs."""

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
from memshield.jobs.service import Jobs
from memshield.ui.server.deployment import Place
from memshield.ui.server.visitor import LONGEST_SECONDS, Visitor, Visitors

KEPT_SECONDS = 3600.0
"""A token is kept for jobs that wait this long, where it does not say how long it is good."""


@dataclass(frozen=True)
class Server:
    """The page's server.

    Attributes:
        place: where it runs.
        jobs: of everybody.
        visitors: tells who is asking.
        machine: that trains.
        flavour: the Hub's name of its hardware; None at home, or where it is not known.
        prices: of such hardware.
    """

    place: Place
    jobs: Jobs
    visitors: Visitors
    machine: Machine
    flavour: str | None = None
    prices: HubPrices = field(default_factory=HubPrices)

    @classmethod
    def open(cls, place: Place) -> Server:
        """Open the store and find out what the machine has."""
        place.root.mkdir(parents=True, exist_ok=True)
        jobs, machine = Jobs(place.root, store=place.store), this_machine()
        said = os.environ.get("CPU_CORES", "")
        flavour = flavour_of(machine, said) if place.on_space else None
        return cls(place, jobs, Visitors(place.on_space), machine, flavour)

    def visitor(self, token: gr.OAuthToken | None) -> Visitor:
        """Who is asking; the token of an owner is kept for what the owner's jobs need.

        Raises:
            UserError: the Hub does not know the token, or cannot be asked.
        """
        visitor = self.visitors.of(token.token if token is not None else None)
        if visitor.owner and isinstance(visitor.token, str):
            knew = self.jobs.tokens.of(visitor.owner) is not None
            # Whoever waits in the queue behind a long training may have closed the page.
            now, good_until = time.time(), token.expires_at if token is not None else 0
            until = min(good_until or now + KEPT_SECONDS, now + LONGEST_SECONDS)
            self.jobs.tokens.keep(visitor.owner, visitor.token, until)
            if not knew:
                self.jobs.scheduler.wake()  # what waits for it may start now
        return visitor

    def sign_out(self, token: str) -> None:
        """Forget a token: a job that waits and needs it asks to sign in again.

        A job that runs has a copy of its own, in its environment.
        """
        self.visitors.sign_out(token)
        self.jobs.tokens.forget(token)

    def owner(self, token: gr.OAuthToken | None) -> str:
        """The owner of what is asked for.

        Raises:
            UserError: the visitor is signed out.
        """
        return self.visitor(token).require_owner()

    def run_folder(self, owner: str, job: str) -> Path:
        """The run directory of an owner's job.

        Raises:
            UserError: the owner has no such job.
        """
        return self.jobs.folders.run(self.jobs.get(owner, job)).path


def told(error: UserError) -> None:
    """Tell a visitor of something that went wrong beside what the page shows."""
    gr.Warning(f"{error.problem}. {error.remedy}" if error.remedy else error.problem)
