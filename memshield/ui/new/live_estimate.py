"""The estimate beside the button that starts, as the form changes."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import gradio as gr

from memshield.errors import UserError
from memshield.hub.catalog.dataset import describe_dataset
from memshield.hub.catalog.model import describe_model
from memshield.ui.errors import attempt
from memshield.ui.form.inputs import FilledForm
from memshield.ui.form.planning import Plan, forecast, rows_of
from memshield.ui.form.problems import type_problems
from memshield.ui.form.recipes import RecipeName
from memshield.ui.form.where import Destination, offers, planned_on, read_destination
from memshield.ui.new.forecast_view import UNREADABLE, cost_view, estimate_view
from memshield.ui.new.search_box import is_id
from memshield.ui.new.submission import count_pictures, fill_form, pace_for
from memshield.ui.server.server import Server
from memshield.ui.server.visitor import Visitor

_KEPT, _SECONDS = 256, 300.0
_MISSING = {
    "hub": "The time is shown here once a model and pictures are chosen.",
    "scratch": "The time is shown here once pictures are chosen.",
    "demo": UNREADABLE,
}


class LiveEstimate:
    """Estimates the training of a form; what the Hub said of a model is kept for a few minutes.

    Args:
        server: the page's server.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[object, ...], tuple[float, Any]] = OrderedDict()

    def view(
        self,
        values: Mapping[str, Any],
        recipe: RecipeName,
        upload: str,
        planned: Plan | None,
        token: gr.OAuthToken | None,
    ) -> tuple[str, str]:
        """Show the time of a form, and what it costs where it is paid for.

        Args:
            values: by field, of any type.
            recipe: that gave the inputs' defaults.
            upload: name of the visitor's upload.
            planned: the last plan, which may have been measured.
            token: of the visitor.
        """
        visitor = attempt(lambda: self._server.visitor(token))
        if visitor is None:
            return estimate_view(None), ""
        there, wrong_there = self._destination(values)
        form = fill_form(self._server, values, recipe, upload, token)
        wrong = {error.field for error in form.errors} - {"upload", "folder"}
        if wrong or wrong_there or type_problems(form.choices):
            return estimate_view(None), "" if there is None else cost_view(None, there)
        made = self._forecast(form, visitor, there)
        if there is not None:
            made = planned_on(made, there.offer)
            return estimate_view(made, _MISSING[form.kind]), cost_view(made, there)
        if planned is not None and made.values == planned.values and planned.here is not None:
            made = planned
        return estimate_view(made, _MISSING[form.kind]), ""

    def _forecast(
        self, form: FilledForm, visitor: Visitor, there: Destination | None = None
    ) -> Plan:
        choices, owner, token = form.choices, visitor.owner, visitor.token
        model = dataset = None
        if choices.model and is_id(choices.model):
            name = choices.model
            model = self._look_up((owner, name), lambda: describe_model(name, token=token))
        if choices.dataset and is_id(choices.dataset):
            data, config = choices.dataset, choices.dataset_config
            dataset = self._look_up(
                (owner, data, config), lambda: describe_dataset(data, config, token=token)
            )
        rows = count_pictures(form)
        rows = rows if rows is not None else rows_of(choices, dataset)
        if there is not None:
            offer = there.offer
            return forecast(choices, offer.machine, rows, model, offer.an_hour)
        pace = pace_for(self._server, owner)
        return forecast(choices, self._server.machine, rows, model, pace=pace)

    def _destination(self, values: Mapping[str, Any]) -> tuple[Destination | None, list[UserError]]:
        on_jobs = values.get("place") == "jobs"
        offered = offers(self._server.jobs.places.prices.get()) if on_jobs else ()
        return read_destination(values, offered)

    def _look_up(self, key: tuple[object, ...], ask: Callable[[], Any]) -> Any:
        """What the Hub says; None where it cannot be asked, or refuses."""
        now = time.monotonic()
        with self._lock:
            asked, found = self._known.get(key, (-_SECONDS, None))
        if now - asked < _SECONDS:
            return found
        found = attempt(ask)
        with self._lock:
            self._known[key] = (now, found)
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)
        return found
