"""The list of runs: lays it out, notes which one is chosen, and changes titles."""

from __future__ import annotations

import json
import secrets
from typing import Any

import gradio as gr

from memshield.jobs.titles import MOST
from memshield.ui.errors import attempt, on_error
from memshield.ui.runs.rows import RunRows
from memshield.ui.server.server import Server
from memshield.ui.widgets.fields import RAW
from memshield.ui.widgets.problems import problem_view

# A row that has the focus keeps it when the list is made anew; one that is made anew while it is
# pressed gets no click.
_ON_LOAD = """
let focused = null, pressed = null;
const choose = (row) => {
  document.body.dataset.chosenRun = row.dataset.run;
  trigger("select");
};
element.addEventListener("click", (event) => {
  const row = event.target.closest("[data-run]");
  if (row) choose(row);
});
element.addEventListener("pointerdown", (event) => {
  pressed = event.target.closest("[data-run]");
});
element.addEventListener("pointerup", (event) => {
  const row = event.target.closest("[data-run]");
  const was = pressed && !pressed.isConnected ? pressed.dataset.run : null;
  if (row && row.dataset.run === was) choose(row);
  pressed = null;
});
document.addEventListener("focusin", (event) => {
  const row = element.contains(event.target) && event.target.closest("[data-run]");
  focused = row ? row.dataset.run : null;
});
watch("value", () => {
  const row = focused && element.querySelector(`[data-run="${CSS.escape(focused)}"]`);
  if (row && document.activeElement === document.body) row.focus({ preventScroll: true });
});
"""

# In the browser alone: answers of the server may come later than the next click, and undo it.
_PICKED = "() => document.body.dataset.chosenRun"
MOVED = """
(answer, chosen) => {
  const [before, found, word] = JSON.parse(answer);
  return [(chosen ?? "") === before ? found : chosen, word];
}
"""
"""From an answer of `load` and the run that is chosen by now: the one to choose, and the word."""


class RunList:
    """Lays out the list, and answers it.

    Args:
        server: the page's server.

    Attributes:
        chosen: id of the run that is shown; "" for none.
        answer: of `load`; `MOVED` says what becomes of it.
        rows: the list, as HTML.
        known: rows of all owners.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self.known = RunRows(server.jobs)
        # Not a State, whose changes are reported through gradio's queue alone. A page that was open
        # while the server restarted sends what it likes: every handler checks the owner.
        self.chosen = gr.Textbox("", visible="hidden", elem_id="run")
        self.answer = gr.Textbox(visible="hidden")
        self.rows = gr.HTML(elem_id="runs", js_on_load=_ON_LOAD)
        self.rows.select(None, None, self.chosen, js=_PICKED, **RAW)

    def lay_out_renaming(self, rename: gr.Button) -> Any:
        """Lay out the input of a new title.

        Args:
            rename: opens it.

        Returns:
            The event after which the title may be another.
        """
        with gr.Column(visible=False, elem_id="renaming") as part:
            with gr.Row(equal_height=True):
                title = gr.Textbox(label="Name", max_length=MOST, scale=3, min_width=220)
                save = gr.Button("Save the name", variant="primary", scale=0, min_width=140)
                leave = gr.Button("Leave it", scale=0, min_width=100)
            said = gr.HTML(elem_id="problem-title", elem_classes=["ms-slot"])

        @on_error(lambda error: [gr.Column(visible=True), gr.skip(), problem_view(error)])
        def on_open(job: object, token: gr.OAuthToken | None) -> list[Any]:
            found = self._server.jobs.get(self._server.owner(token), str(job or ""))
            return [gr.Column(visible=True), found.title, ""]

        @on_error(lambda error: [gr.skip(), problem_view(error)])
        def on_save(job: object, text: object, token: gr.OAuthToken | None) -> list[Any]:
            owner = self._server.owner(token)
            self._server.jobs.titles.change(owner, str(job or ""), text)
            return [gr.Column(visible=False), ""]

        rename.click(on_open, self.chosen, [part, title, said], **RAW)
        renamed = gr.on(
            [save.click, title.submit], on_save, [self.chosen, title], [part, said], **RAW
        )
        gr.on([leave.click, self.chosen.change], lambda: gr.Column(visible=False), None, part,
              queue=False, **RAW)  # fmt: skip
        return renamed

    def load(self, wanted: object, chosen: object, token: gr.OAuthToken | None) -> str:
        """Read the list anew.

        Args:
            wanted: the run to choose; where the list has none such, it is the newest.
            chosen: the one that is chosen as yet.
            token: of the visitor.

        Returns:
            As JSON, the run that was chosen, the one to choose unless the visitor has chosen
            another one meanwhile, and a word that is new each time.
        """
        owner = self._server.find_owner(token)
        rows = self.known.of(owner, anew=True) if owner is not None else ()
        ids = [row.id for row in rows]
        found = wanted if wanted in ids else next(iter(ids), "")
        return json.dumps([str(chosen or ""), found, secrets.token_hex(4)])

    def load_if_any(self, token: gr.OAuthToken | None) -> Any:
        """Read the list for a page on which nothing is chosen; nothing new where it is empty.

        Who opened the page while the Hub did not answer would otherwise have no runs there.
        """
        visitor = attempt(lambda: self._server.visitor(token))  # what is shown says why not
        owner = None if visitor is None else visitor.owner
        has_runs = owner is not None and bool(self.known.of(owner))
        return self.load(None, None, token) if has_runs else gr.skip()
