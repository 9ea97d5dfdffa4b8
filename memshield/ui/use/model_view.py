"""Views of a published model: the checks of its files, and a summary of its card."""

from __future__ import annotations

from collections.abc import Sequence

from memshield.audit.report_view import ModelTable, View
from memshield.audit.statements import statements_of
from memshield.config.mitigation import measures_of
from memshield.hub.consent import told_of
from memshield.hub.manifest import Manifest
from memshield.hub.verify import Check, conclusion
from memshield.quantities import plural
from memshield.ui.widgets.templates import render


def summary_view(manifest: Manifest) -> str:
    """Summarize a published model whose checks hold.

    Args:
        manifest: of the model.
    """
    audit = manifest.audit
    models = {} if audit is None else {"this model": audit, **manifest.beside}
    return render(
        "model_summary",
        facts=_facts(manifest),
        audit=audit,
        statements=statements_of(audit, manifest.beside.get("base")) if audit else (),
        table=None if audit is None else ModelTable.of(models.items(), View.PAGE, audit),
        told=told_of(manifest.confirmed),
    )


def _facts(manifest: Manifest) -> list[tuple[str, str]]:
    training, data, base = manifest.training, manifest.dataset, manifest.base
    kind = "draws from prompts" if manifest.text else "draws without prompts"
    if training.kind == "lora":
        kind += "; a LoRA"
    pictures = f"{plural(training.pictures, 'picture')} of {data.name or 'a withheld dataset'}"
    done = "; ".join(one.short for one in measures_of(training.settings))
    how = done or "plain, without mitigation"
    if training.steps:
        how += f", {plural(training.steps, 'step')}"
    return [
        ("model", kind),
        ("base", "none: trained from scratch" if base is None else base.name or "withheld"),
        ("license", str(manifest.license or "not stated")),
        ("trained on", f"{pictures}, {training.size}"),
        ("how", how),
    ]


def checks_view(checks: Sequence[Check]) -> str:
    """The checks of `memshield.hub.verify`, each with its findings."""
    states = {check.state for check in checks}
    state = next(state for state in ("failed", "not checked", "ok") if state in states)
    return render("checks", checks=checks, state=state, conclusion=conclusion(checks))
