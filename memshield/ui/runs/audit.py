"""The panel that audits a run, compares it with others, and chooses the round to keep."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gradio as gr

from memshield.config.mitigation import is_plain
from memshield.errors import UserError
from memshield.jobs.audit_request import ALL, MOST_BESIDE
from memshield.jobs.told import Told
from memshield.jobs.view import JobView
from memshield.runs.progress import audits_fingerprint
from memshield.runs.reports import BASE
from memshield.ui.errors import attempt, on_error
from memshield.ui.runs.audit_data import (
    BY_BUDGET,
    LABELS,
    MODEL,
    Audits,
    AuditSelection,
    round_of,
    shown_beside,
)
from memshield.ui.runs.text_inputs import parse_whole, unique_texts
from memshield.ui.server.server import Server
from memshield.ui.widgets.log import log_text_view
from memshield.ui.widgets.problems import heading_view, problems_view, status_view

_PLAIN = (
    "Train once more without it: on the same pictures, with the same seed and the same number of "
    "steps. It takes about as long as this run did. Once audited, it is shown beside this run."
)
_KEEP = (
    "The model is the aggregate of one round. The budget is the largest share of generated "
    "pictures that may be given back beyond chance; of the rounds within it, the best is kept."
)
_FREE: dict[str, Any] = {"allow_custom_value": True}
"""A page that outlives the server may send values that the new one has not offered."""
_HIDDEN: dict[str, Any] = {"api_visibility": "private"}


Promoted = tuple[str | None, str, str | None]
"""A job, what became of making a round its model, and what of it is shown then."""


def _problems(error: UserError) -> str:
    return problems_view(error, LABELS)


def _not_promoted(error: UserError) -> Promoted:
    return None, _problems(error), None


class AuditPanel:
    """Lays out the panel, and updates it.

    Args:
        server: the page's server.
        chosen: id of the shown job.

    Attributes:
        inputs: of `update` and `blank`.
        outputs: of `update` and `blank`.
        acted: events that may change the list of runs.
        promoted: event that may change a run's model.
    """

    def __init__(self, server: Server, chosen: gr.Textbox) -> None:
        self._server = server
        self._offered, self._seen, self._form_of = gr.State(()), gr.State(""), gr.State("")
        with gr.Column(visible=False) as self._whole:
            self._lay_out_audit()
            self._lay_out_choice()
            self._risk = gr.HTML(elem_id="risk")
        self.inputs = [self._what, self._budget, self._beside, self._offered, self._seen]
        self.outputs = [
            self._whole, self._form, self._what, self._base, self._where, self._start, self._failed,
            self._beside, self._audit, self._plain, self._keep, self._number, self._promote,
            self._rounds, self._risk, self._offered, self._seen,
        ]  # fmt: skip
        self._wire(chosen)

    def _lay_out_audit(self) -> None:
        with gr.Column(visible=False) as self._form:
            with gr.Row(equal_height=True):
                self._what = gr.Dropdown(
                    [("The model", MODEL)], value=MODEL, label=LABELS["round"], scale=2,
                    min_width=220, elem_id="what", **_FREE,
                )  # fmt: skip
                self._pictures = gr.Textbox(
                    label=LABELS["num_images"],
                    placeholder="by the size of the set",
                    scale=2,
                    min_width=220,
                )
                self._start = gr.Button("Audit", variant="primary", scale=1, min_width=120)
            self._base = gr.Checkbox(label="Audit the base too, for comparison")
            self._where = gr.Radio(
                _where_to(""), label=LABELS["place"], visible=False, elem_id="audit-where",
                value="jobs" if self._server.offers_jobs_first else "here",
            )  # fmt: skip
        self._said = gr.HTML(elem_id="audit-problems")
        self._failed = gr.HTML()
        self._beside = gr.Dropdown(
            [], label=LABELS["beside"], multiselect=True, max_choices=MOST_BESIDE + 1,
            visible=False, elem_id="beside", **_FREE,
        )  # fmt: skip
        self._audit = gr.HTML(elem_id="audit")
        with gr.Column(visible=False) as self._plain:
            gr.HTML(heading_view("What did the mitigation change?", _PLAIN))
            self._train_plain = gr.Button("Train a plain run for comparison")
        self._twin = gr.HTML(elem_id="twin")

    def _lay_out_choice(self) -> None:
        with gr.Column(visible=False) as self._keep:
            gr.HTML(heading_view("Which round to keep", _KEEP))
            with gr.Row(equal_height=True):
                self._budget = gr.Textbox(
                    label=LABELS["budget"],
                    placeholder="such as 0.02, or 2 %",
                    scale=2,
                    min_width=220,
                    elem_id="budget",
                )
                self._number = gr.Dropdown(
                    [("By the budget", BY_BUDGET)], value=BY_BUDGET, label=LABELS["number"],
                    scale=2, min_width=220, elem_id="number", **_FREE,
                )  # fmt: skip
                self._promote = gr.Button("Make it the model", scale=1, min_width=120)
        self._kept = gr.HTML(elem_id="kept")
        self._rounds = gr.HTML(elem_id="rounds")

    def _wire(self, chosen: gr.Textbox) -> None:
        started = self._start.click(
            self._on_start,
            [chosen, self._what, self._pictures, self._base, self._where, self._beside],
            self._said, **_HIDDEN,
        )  # fmt: skip
        answer = gr.State()
        self.promoted = self._promote.click(
            self._on_promote, [chosen, self._number, self._budget], answer, **_HIDDEN
        )
        # Copying a large model takes long: another run may be shown by then.
        self.promoted.then(
            _show_promoted, [chosen, answer], [self._kept, self._what], queue=False, **_HIDDEN
        )
        twin = self._train_plain.click(self._on_plain, chosen, self._twin, **_HIDDEN)
        self.acted = [started, self.promoted, twin]
        chosen.change(
            self._on_change, [chosen, self._form_of],
            [self._what, self._pictures, self._base, self._budget, self._number, self._said,
             self._kept, self._twin, self._form_of], queue=False, **_HIDDEN,
        )  # fmt: skip

    # Showing

    def update(self, owner: str, view: JobView, inputs: list[Any]) -> list[Any]:
        """Return the outputs, skipped if they would be the same.

        Args:
            owner: the visitor.
            view: of the owner's job.
            inputs: values of `inputs`; all but the last two may be of any type.
        """
        *given, offered, before = inputs
        selection = AuditSelection.of(*given)
        job = self._server.jobs.get(owner, view.id)
        audits = Audits.of(self._server.jobs, owner, job, selection.round)
        others = [(one.name, one.id) for one in audits.others]
        choices, ids = gr.skip(), (view.id, *(id for _, id in others))
        if offered != ids:
            earlier = offered[1:] if offered[:1] == ids[:1] else None
            shown = shown_beside(audits.others, selection.beside, earlier)
            selection = replace(selection, beside=tuple(shown))
            choices = gr.Dropdown(
                others, value=shown, visible=bool(others), multiselect=True, **_FREE
            )
        on_jobs = "" if view.elsewhere is None else _on_jobs(view.elsewhere)
        # `selection` holds the inputs as they will be: a later change makes another key.
        seen = repr((
            view.id, selection, audits_fingerprint(audits.run), others,
            [one.report.made for one in audits.others], view.actions, view.auditing,
            on_jobs,
        ))  # fmt: skip
        if seen == before:
            return [gr.skip()] * len(self.outputs)
        config, idle = self._server.jobs.config(owner, view.id), "audit" in view.actions
        mitigated = not is_plain(config.model_dump())
        return [
            gr.Column(visible=True),
            gr.Column(visible=idle or audits.any),
            gr.Dropdown(audits.to_audit()),
            gr.Checkbox(visible=config.pretrained_model_name_or_path is not None),
            gr.Radio(_where_to(on_jobs), visible=view.elsewhere is not None),
            gr.Button(interactive=idle),
            _failed_view(view),
            choices,
            audits.audit_view(selection, going=view.auditing.state in ("running", "stopping")),
            gr.Column(visible=mitigated and not any(one.plain for one in audits.others)),
            gr.Column(visible=bool(audits.run.round_numbers())),
            gr.Dropdown(audits.to_keep(selection)),
            gr.Button(interactive=idle),
            audits.rounds_view(selection),
            audits.risk_view(selection),
            ids,
            seen,
        ]

    def blank(self, now: str, inputs: list[Any]) -> list[Any]:
        """Return the outputs for no run.

        Args:
            now: the reason, as a key.
            inputs: values of `inputs`.
        """
        if now == inputs[-1]:
            return [gr.skip()] * len(self.outputs)
        skipped = [gr.skip()] * (len(self.outputs) - 3)
        return [gr.Column(visible=False), *skipped, (), now]

    def _on_change(self, job: str | None, form_of: str, token: gr.OAuthToken | None) -> list[Any]:
        """Empty the inputs for another run."""
        if not job or job == form_of:
            return [gr.skip()] * 9
        # The list of runs reports errors.
        config = attempt(lambda: self._server.jobs.config(self._server.owner(token), job))
        budget = None if config is None else config.memorization_budget
        words = "" if budget is None else f"{budget:g}"
        if not form_of:  # the first run shown: the other inputs belong to no other run yet
            return [*[gr.skip()] * 3, words, *[gr.skip()] * 4, job]
        return [MODEL, "", False, words, BY_BUDGET, "", "", "", job]

    # Acting

    @on_error(_problems)
    def _on_start(
        self, job: str | None, what: object, pictures: object, base: object, where: object,
        beside: object, token: gr.OAuthToken | None,
    ) -> str:  # fmt: skip
        owner = self._server.owner(token)
        count = parse_whole(pictures, LABELS["num_images"])
        view = self._server.jobs.view(owner, job or "")
        there = where == "jobs" and view.elsewhere is not None
        others = [BASE] if base is True else []
        if what != ALL and not there:  # the other runs are here, and are shown beside it
            others += [one for one in unique_texts(beside) if one != BASE]
        target: Any = None if what in (None, "", MODEL) else what
        number = round_of(target)
        self._server.jobs.audit(
            owner, view.id, target if number is None else number, count, others, there
        )
        return ""

    @on_error(_not_promoted)
    def _on_promote(
        self, job: str | None, number: object, budget: object, token: gr.OAuthToken | None
    ) -> Promoted:
        """Make a round the model; return the job, what to say of it, and what to show."""
        owner = self._server.owner(token)
        found = self._server.jobs.get(owner, job or "")
        audits = Audits.of(self._server.jobs, owner, found, None)
        chosen, reason = audits.keep(number, budget)
        if chosen == audits.run.round_of_model():
            return found.id, status_view(f"Round {chosen} is the model already."), None
        self._server.jobs.promote(owner, found.id, chosen, reason)
        return found.id, status_view(f"Round {chosen} is the model now: {reason}."), MODEL

    @on_error(lambda error: problems_view(error, LABELS, "Not started"))
    def _on_plain(self, job: str | None, token: gr.OAuthToken | None) -> str:
        twin = self._server.jobs.submit_plain(self._server.owner(token), job or "")
        return status_view(
            f"{twin.title} has been queued, and is in the list of runs. Audit it after its "
            "training, and it is shown beside this run."
        )


def _show_promoted(chosen: str | None, answer: Promoted) -> tuple[Any, Any]:
    """Show what became of a promotion below its own run only."""
    job, said, what = answer
    if job not in (None, chosen):
        return gr.skip(), gr.skip()
    return said, gr.skip() if what is None else what


def _where_to(on_jobs: str) -> list[tuple[str, str]]:
    return [("This machine", "here"), (f"Hugging Face Jobs{on_jobs}", "jobs")]


def _on_jobs(told: Told) -> str:
    """The machine of Jobs that a run was trained on, and what an audit there may cost."""
    most = f", ${told.most:.2f} at most" if told.most else ""
    return f": {told.hardware}{most}"


def _failed_view(view: JobView) -> str:
    """Why the last audit failed."""
    side = view.auditing
    if side.state not in ("failed", "died", "needs_sign_in"):
        return ""
    shown = problems_view(UserError("Audit", side.words, side.reason or ""), title="What happened")
    return shown + log_text_view("\n".join(side.last_lines)) if side.last_lines else shown
