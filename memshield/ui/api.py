"""What a script may ask of the page, by name: search, plan, submit, status, report."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import gradio as gr

from memshield.audit.report import REPORT, Report
from memshield.errors import UserError
from memshield.hub.catalog.results import Page
from memshield.hub.catalog.search import search_datasets, search_models
from memshield.ui.form.choices import Choices, on_this_machine
from memshield.ui.form.planning import plan
from memshield.ui.form.recipes import recipes
from memshield.ui.server.server import Server

NAMES = ("search", "plan", "submit", "status", "report")
"""Of all endpoints that are listed and may be called by name."""
_SEARCHES: Mapping[str, Callable[..., Page[Any]]] = {
    "models": search_models,
    "datasets": search_datasets,
}


def add_api(server: Server) -> None:
    """Add the named endpoints; everything else is private."""

    def search(
        text: str, kind: str = "models", token: gr.OAuthToken | None = None
    ) -> list[dict[str, Any]]:
        """What can be trained with on the Hub: id, license, whether gated, and more.

        kind: models that can be fine-tuned, or datasets with pictures.
        """
        with _said():
            if not isinstance(text, str):
                raise UserError("text", "is no text", "Give a part of the id, such as ddpm.")
            if not isinstance(kind, str) or kind not in _SEARCHES:
                raise UserError("kind", f"{kind!r} is none", f"One of: {', '.join(_SEARCHES)}.")
            found = _SEARCHES[kind](text, token=server.visitor(token).token)
            return [_plain({**asdict(one), "license": str(one.license or "")})
                    for one in found.items]  # fmt: skip

    def plan_(choices: dict[str, Any], token: gr.OAuthToken | None) -> dict[str, Any]:
        """What a training would do: lines, problems, and its settings as YAML.

        choices: recipe (demo, sd_lora, sdxl_lora, pixels, pixels_from_scratch), model, dataset,
        epochs, rounds, shards, strength, budget, hub_model_id.
        """
        with _said():
            made = plan(_choices(choices), server.machine, server.visitor(token).token, None,
                        server.flavour, server.prices.get)  # fmt: skip
            problems = [str(error) for error in made.errors]
            return {"lines": list(made.lines), "problems": problems, "yaml": made.yaml}

    def submit(choices: dict[str, Any], token: gr.OAuthToken | None) -> str:
        """Queue a training of yours; returns the job's id. Takes what plan takes."""
        with _said():
            owner = server.owner(token)
            made = plan(_choices(choices), server.machine, server.visitor(token).token)
            if made.errors:
                raise UserError("choices", "; ".join(str(error) for error in made.errors), "")
            values = on_this_machine(made.values)
            return server.jobs.submit(owner, values, needs_token=made.needs_token).id

    def status(job: str, token: gr.OAuthToken | None) -> dict[str, Any]:
        """How a job of yours goes: training, auditing, publishing, figures."""
        with _said():
            return _plain(asdict(server.jobs.view(server.owner(token), _id(job))))

    def report(job: str, token: gr.OAuthToken | None) -> dict[str, Any]:
        """The audit of a job's model: report.json."""
        with _said():
            path = server.run_folder(server.owner(token), _id(job)) / "audit" / "model" / REPORT
            return dict(Report.read(path).model_dump(mode="json"))

    for name, function in zip(NAMES, (search, plan_, submit, status, report), strict=True):
        gr.api(function, api_name=name)  # type: ignore[attr-defined]


def _id(job: object) -> str:
    """The id, or one of no job where something else was sent."""
    return job if isinstance(job, str) else ""


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Values as JSON holds them; times as text."""
    return dict(json.loads(json.dumps(values, default=str)))


@contextmanager
def _said() -> Iterator[None]:
    """What a visitor can mend, as gradio's clients read it."""
    try:
        yield
    except UserError as error:
        raise gr.Error(str(error), print_exception=False) from None


def _choices(given: dict[str, Any]) -> Choices:
    names = ("recipe", "model", "dataset", "epochs", "rounds", "shards", "strength", "budget",
             "hub_model_id")  # fmt: skip
    if not isinstance(given, dict):
        raise UserError("choices", "are no mapping", f"Name each choice: {', '.join(names)}.")
    unknown = sorted(set(given) - set(names))
    if unknown:
        raise UserError(unknown[0], "is no choice", f"One of: {', '.join(names)}.")
    recipe = given.get("recipe", "demo")
    if not isinstance(recipe, str) or recipe not in recipes():
        raise UserError("recipe", f"{recipe!r} is none", f"One of: {', '.join(recipes())}.")
    return Choices(**given)
