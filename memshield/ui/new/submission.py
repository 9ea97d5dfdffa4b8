"""Checks and submits the form of a new training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from memshield.config.buckets import lost_to_squares
from memshield.data.source import Source
from memshield.errors import UserError, collect_errors
from memshield.forecast.duplicates import open_folder
from memshield.hub.catalog.model import describe_model
from memshield.jobs.pace import RunPace
from memshield.jobs.records import Place
from memshield.network import Token
from memshield.ui.errors import attempt
from memshield.ui.form.choices import Choices, on_this_machine
from memshield.ui.form.inputs import FilledForm, read_form
from memshield.ui.form.planning import Plan, forecast, plan
from memshield.ui.form.recipes import RecipeName, recipes
from memshield.ui.form.where import (
    Destination,
    offers,
    planned_on,
    problems_there,
    read_destination,
)
from memshield.ui.new.descriptions import FAMILY_NAMES
from memshield.ui.new.local_folder import find_folder
from memshield.ui.new.own_pictures import for_job, uploaded
from memshield.ui.new.recipe_choice import recipe_of
from memshield.ui.server.server import Server

NO_RIGHT = UserError(
    "place", "Jobs need a token of yours that may run them", "Sign in for Jobs, or give one, below."
)

_OTHER_KIND = UserError(
    "kind", "the settings were for another kind of training",
    "They have been changed to fit it. Review them, and press again.",
)  # fmt: skip
_LOOKED_AT = 256
"""Pictures whose shapes are read."""


@dataclass(frozen=True)
class CheckedForm:
    """A checked form.

    Attributes:
        form: as it was filled in.
        plan: of its training; None if there is none.
        errors: with the fields that can mend them; empty if the training can start.
        recipe: for its model.
        there: hardware of Jobs to run on; None for this machine.
    """

    form: FilledForm
    plan: Plan | None
    errors: tuple[UserError, ...]
    recipe: RecipeName
    there: Destination | None = None


def check_form(
    server: Server,
    values: Mapping[str, Any],
    recipe: RecipeName,
    upload: str,
    token: gr.OAuthToken | None,
) -> CheckedForm:
    """Check a form, and plan its training.

    Args:
        server: the page's server.
        values: by field, of any type.
        recipe: that gave the inputs' defaults.
        upload: name of the visitor's upload.
        token: of the visitor.

    Raises:
        UserError: the Hub does not know the visitor, or cannot be asked.
    """
    visitor = server.visitor(token)
    form = fill_form(server, values, recipe, upload, token)
    offered = offers(server.jobs.places.prices.get()) if values.get("place") == "jobs" else ()
    there, wrong = read_destination(values, offered)
    pictures, at_home = _own_pictures(form), not server.deployment.on_space
    rows = None if pictures is None else len(pictures)
    if there is None:
        made = plan(
            form.choices, server.machine, visitor.token, rows, server.flavour,
            server.prices.get, pace_for(server, visitor.owner), at_home,
        )  # fmt: skip
    else:
        offer = there.offer
        known = {offer.name: offer.an_hour}
        made = plan(
            form.choices, offer.machine, visitor.token, rows, offer.name, lambda: known,
            at_home=at_home,
        )  # fmt: skip
        made = planned_on(made, offer)
        wrong += problems_there(made, offered)
        if visitor.owner is not None and server.jobs.places.token_of(visitor.owner) is None:
            wrong.append(NO_RIGHT)
    if pictures is not None:
        made = replace(made, lost=lost_to_squares(pictures.some_sizes(_LOOKED_AT)))
    errors = [*form.beside_inputs(made.errors), *wrong]
    wanted = _recipe_of_kind(form, recipe)
    if wanted != recipe:
        errors = [_OTHER_KIND, *errors]
        return CheckedForm(form, made, tuple(errors), wanted, there)
    if form.kind == "hub" and made.model is None and form.choices.model:
        recipe, errors = _settle_recipe(form, errors, visitor.token, recipe)
    return CheckedForm(form, made, tuple(errors), recipe, there)


def fill_form(
    server: Server,
    values: Mapping[str, Any],
    recipe: RecipeName,
    upload: str,
    token: gr.OAuthToken | None,
) -> FilledForm:
    """Read a form, and find its pictures; the arguments are those of `check_form`."""
    on_space = server.deployment.on_space
    folder, where = None, values.get("where")
    wrong: list[UserError] = []
    if values.get("kind") in (None, "demo"):
        where = None  # the demo has its own, and what was given before is out of sight
    with collect_errors(wrong, str(where)):
        if where == "upload" and upload:
            folder = uploaded(server, upload, token)
        typed = values.get("folder")
        if where == "folder" and not on_space and isinstance(typed, str) and typed.strip():
            folder = find_folder(typed)
    form = read_form(values, recipe, folder, at_home=not on_space)
    if wrong:
        # "Not found" replaces "missing".
        kept = [one for one in form.errors if one.field != where]
        form = FilledForm(form.kind, form.where, form.choices, (*wrong, *kept))
    return form


def pace_for(server: Server, owner: str | None) -> RunPace | None:
    """The pace of a visitor's earlier runs; None for who is signed out."""
    return None if owner is None else RunPace(server.jobs, owner, server.machine)


def start_demo(server: Server, token: gr.OAuthToken | None) -> str:
    """Queue the demo with its own settings, and return the job's id.

    Raises:
        UserError: the visitor is signed out, or has too many tasks in the queue.
    """
    owner = server.owner(token)
    demo = Choices()
    made = forecast(demo, server.machine, demo.starting_point.rows)
    return server.jobs.submit(owner, on_this_machine(made.values)).id


def _recipe_of_kind(form: FilledForm, recipe: RecipeName) -> RecipeName:
    """The recipe, or one of the kind of training that was chosen: the page may have been late."""
    is_demo, scratch = form.kind == "demo", form.kind != "hub"
    if (recipe == "demo") == is_demo and recipes()[recipe].scratch == scratch:
        return recipe
    return recipe_of(form.kind, None)


def _settle_recipe(
    form: FilledForm, errors: Sequence[UserError], token: Token, recipe: RecipeName
) -> tuple[RecipeName, list[UserError]]:
    """Find the recipe of a model that was not looked up before the button was pressed."""
    model = attempt(lambda: describe_model(form.choices.model or "", token=token))
    wanted = recipe if model is None else recipe_of("hub", model.family)
    if model is None or wanted == recipe:
        return recipe, list(errors)
    kept = [error for error in errors if error.field != "model"]
    changed = UserError(
        "model",
        f"this is a {FAMILY_NAMES[model.family]} model, and the settings were for another kind",
        "The settings have been changed to fit it. Review them, and press again.",
    )
    return wanted, [changed, *kept]


def count_pictures(form: FilledForm) -> int | None:
    """The number of the visitor's own pictures, if they can be opened."""
    pictures = _own_pictures(form)
    return None if pictures is None else len(pictures)


def _own_pictures(form: FilledForm) -> Source | None:
    folder, uploaded = form.choices.folder, form.choices.uploaded
    return None if folder is None else attempt(lambda: open_folder(folder, uploaded))


def submit_form(server: Server, checked: CheckedForm, token: gr.OAuthToken | None) -> str:
    """Queue the training of a form without problems, and return the job's id.

    Raises:
        UserError: it is refused.
    """
    assert checked.plan is not None and not checked.errors
    owner = server.owner(token)
    values = for_job(server, on_this_machine(checked.plan.values), token)
    there, place = checked.there, None
    if there is not None:
        place = Place(there.offer.name, there.limit.seconds)
    needs_token = checked.plan.needs_token
    return server.jobs.submit(owner, values, needs_token=needs_token, place=place).id
