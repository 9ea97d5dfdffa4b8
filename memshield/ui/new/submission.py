"""A form that is looked at, and submitted: what it would do, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from memshield.errors import UserError
from memshield.forecast.duplicates import open_folder
from memshield.network import Token
from memshield.ui.form.choices import on_this_machine
from memshield.ui.form.inputs import Filled, filled
from memshield.ui.form.planning import Plan, plan
from memshield.ui.form.recipes import RecipeName
from memshield.ui.new.family_names import FAMILIES
from memshield.ui.new.local_folder import find_folder
from memshield.ui.new.model_kinds import recipe_of
from memshield.ui.new.own_pictures import uploaded
from memshield.ui.server.server import Server


@dataclass(frozen=True)
class Checked:
    """A form that was looked at.

    Attributes:
        form: as it was filled in.
        plan: what it would do; None where it cannot be told.
        errors: under the fields that can mend them; none where it can be started.
        recipe: that the model wants.
    """

    form: Filled
    plan: Plan | None
    errors: tuple[UserError, ...]
    recipe: RecipeName


def check(
    server: Server,
    values: Mapping[str, Any],
    recipe: RecipeName,
    upload: str,
    token: gr.OAuthToken | None,
) -> Checked:
    """Look at a form.

    Args:
        server: see there.
        values: by field, whatever was sent.
        recipe: whose values stood in the inputs at first.
        upload: the visitor's.
        token: of the visitor.

    Raises:
        UserError: the Hub does not know the visitor, or cannot be asked who it is.
    """
    visitor = server.visitor(token)
    folder, wrong = None, []
    try:
        if values.get("where") == "upload" and upload:
            folder = uploaded(server, upload, token)
        typed = values.get("folder")
        if values.get("where") == "folder" and not server.place.on_space and _is_text(typed):
            folder = find_folder(str(typed))
    except UserError as error:
        wrong.append(UserError(str(values["where"]), error.problem, error.remedy))
    form = filled(values, recipe, folder, at_home=not server.place.on_space)
    if wrong:
        # What could not be found is more than that it is missing.
        kept = [one for one in form.errors if one.field != wrong[0].field]
        form = Filled(form.kind, form.where, form.choices, (*wrong, *kept))
    made = plan(
        form.choices, server.machine, visitor.token, _rows(form), server.flavour,
        server.prices.get,
    )  # fmt: skip
    errors = form.beside_inputs(made.errors)
    wanted = recipe
    if form.kind == "hub" and made.model is None and form.choices.model:
        wanted, errors = _settled(form, errors, visitor.token, recipe)
    return Checked(form, made, tuple(errors), wanted)


def _settled(
    form: Filled, errors: Sequence[UserError], token: Token, recipe: RecipeName
) -> tuple[RecipeName, list[UserError]]:
    """The recipe of a model that nobody has looked at before the button was pressed."""
    from memshield.hub.catalog.model import describe_model

    try:
        family = describe_model(form.choices.model or "", token=token).family
    except UserError:
        return recipe, list(errors)
    wanted = recipe_of("hub", family)
    if wanted == recipe:
        return recipe, list(errors)
    kept = [error for error in errors if error.field != "model"]
    said = UserError(
        "model",
        f"this is a {FAMILIES[family]} model, and the settings were made for another",
        "Those for it are in place now. Look them over, and press again.",
    )
    return wanted, [said, *kept]


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _rows(form: Filled) -> int | None:
    """Pictures of one's own, where they can be opened."""
    if form.choices.folder is None:
        return None
    try:
        return len(open_folder(form.choices.folder))
    except UserError:
        return None  # among the problems


def submit(server: Server, found: Checked, token: gr.OAuthToken | None) -> str:
    """Queue the training of a form without problems; the job's id.

    Raises:
        UserError: it is refused.
    """
    assert found.plan is not None and not found.errors
    owner = server.owner(token)
    values = on_this_machine(found.plan.values)
    return server.jobs.submit(owner, values, needs_token=found.plan.needs_token).id
