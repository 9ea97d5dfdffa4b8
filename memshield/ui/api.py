"""The endpoints for scripts: search, plan, submit, status, report."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import gradio as gr

from memshield.audit.report import REPORT, Report
from memshield.errors import UserError
from memshield.hub.catalog.results import Page
from memshield.hub.catalog.search import search_datasets, search_models
from memshield.ui.errors import on_error
from memshield.ui.form.choices import Choices, on_this_machine
from memshield.ui.form.planning import plan
from memshield.ui.form.recipes import recipes
from memshield.ui.server.server import Server

NAMES = ("search", "plan", "submit", "status", "report")
"""The public endpoints; all others are private."""
_SEARCHES: Mapping[str, Callable[..., Page[Any]]] = {
    "models": search_models,
    "datasets": search_datasets,
}
_CHOICES = (
    "recipe", "model", "dataset", "epochs", "rounds", "shards", "strength", "budget",
    "hub_model_id",
)  # fmt: skip


def _raise(error: UserError) -> Any:
    """Raise an error that gradio's clients show in words."""
    raise gr.Error(str(error), print_exception=False) from None


def add_api(server: Server) -> None:
    """Add the public endpoints to the page."""

    @on_error(_raise)
    def search(
        text: str, kind: str = "models", token: gr.OAuthToken | None = None
    ) -> list[dict[str, Any]]:
        """Search the Hub for models or datasets to train with: id, license, access, and more.

        kind: models that can be fine-tuned, or datasets with pictures.
        """
        if not isinstance(text, str):
            raise UserError("text", "is not a text", "Give a part of the id, such as ddpm.")
        if not isinstance(kind, str) or kind not in _SEARCHES:
            raise UserError("kind", f"cannot be {kind!r}", f"One of: {', '.join(_SEARCHES)}.")
        page = _SEARCHES[kind](text, token=server.visitor(token).token)
        return [_jsonable({**asdict(one), "license": str(one.license or "")})
                for one in page.items]  # fmt: skip

    @on_error(_raise)
    def plan_(choices: dict[str, Any], token: gr.OAuthToken | None) -> dict[str, Any]:
        """Plan a training: its forecast in lines, its problems, and its settings as YAML.

        choices: recipe (demo, sd_lora, sdxl_lora, sd3_lora, flux_lora, z_image_lora,
        qwen_image_lora, flux2_klein_lora, krea2_lora, pixels, pixels_from_scratch), model,
        dataset, epochs, rounds, shards, strength, budget, hub_model_id.
        """
        made = plan(_choices(choices), server.machine, server.visitor(token).token, None,
                    server.flavour, server.prices.get,
                    at_home=not server.deployment.on_space)  # fmt: skip
        problems = [str(error) for error in made.errors]
        return {"lines": list(made.lines), "problems": problems, "yaml": made.yaml}

    @on_error(_raise)
    def submit(choices: dict[str, Any], token: gr.OAuthToken | None) -> str:
        """Queue a training of yours, with the choices of plan, and return the job's id."""
        owner = server.owner(token)
        made = plan(_choices(choices), server.machine, server.visitor(token).token,
                    at_home=not server.deployment.on_space)  # fmt: skip
        if made.errors:
            raise UserError("choices", "; ".join(str(error) for error in made.errors), "")
        values = on_this_machine(made.values)
        return server.jobs.submit(owner, values, needs_token=made.needs_token).id

    @on_error(_raise)
    def status(job: str, token: gr.OAuthToken | None) -> dict[str, Any]:
        """Return the state of a job of yours: training, audit, publishing, figures."""
        return _jsonable(asdict(server.jobs.view(server.owner(token), _id(job))))

    @on_error(_raise)
    def report(job: str, token: gr.OAuthToken | None) -> dict[str, Any]:
        """Return the audit of a job's model: report.json."""
        path = server.run_folder(server.owner(token), _id(job)) / "audit" / "model" / REPORT
        return dict(Report.read(path).model_dump(mode="json"))

    for name, function in zip(NAMES, (search, plan_, submit, status, report), strict=True):
        gr.api(function, api_name=name)  # type: ignore[attr-defined]


def _id(job: object) -> str:
    """A job's id; "", the id of no job, for other types."""
    return job if isinstance(job, str) else ""


def _jsonable(values: dict[str, Any]) -> dict[str, Any]:
    """Convert values to JSON's types; times become text."""
    return dict(json.loads(json.dumps(values, default=str)))


def _choices(given: dict[str, Any]) -> Choices:
    if not isinstance(given, dict):
        raise UserError("choices", "are not a mapping", f"Name each: {', '.join(_CHOICES)}.")
    unknown = sorted(set(given) - set(_CHOICES))
    if unknown:
        raise UserError(unknown[0], "is not a choice", f"One of: {', '.join(_CHOICES)}.")
    recipe = given.get("recipe", "demo")
    if not isinstance(recipe, str) or recipe not in recipes():
        raise UserError("recipe", f"cannot be {recipe!r}", f"One of: {', '.join(recipes())}.")
    return Choices(**given)
