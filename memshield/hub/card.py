"""The model card: made from memshield.json's plain values by a template.

Every value that the template shows is escaped, unless it was made here: a name that was chosen
to look like markup stays a name.
"""

from __future__ import annotations

import functools
import re
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from jinja2 import Environment, PackageLoader, StrictUndefined

from memshield.audit.report_view import ModelTable, View
from memshield.audit.statements import statements_of
from memshield.config.mitigation import measures_of
from memshield.config.recommendations import Situation, advice_on_memorization
from memshield.digests import LORA
from memshield.errors import UserError
from memshield.families.kinds import told_length
from memshield.hub.allowed_files import EXPORTED
from memshield.hub.catalog.license import License
from memshield.hub.consent import told_of
from memshield.hub.evidence import WITHHELD
from memshield.hub.manifest import Manifest

TASKS = {True: "text-to-image", False: "unconditional-image-generation"}
_MARKUP = re.compile(r"([\\`*_\[\]<>#|!~$&])")
OWN_KEYS = (
    "base_model", "base_model_relation", "datasets", "license", "license_name", "license_link",
    "library_name", "pipeline_tag", "model-index", "widget",
)  # fmt: skip
"""Metadata that must say what memshield.json says."""


class Plain(str):
    """Text that is safe to insert into Markdown unescaped."""

    __slots__ = ()


def escape(value: object) -> str:
    """A value as Markdown that shows it letter by letter, on one line."""
    if isinstance(value, Plain):
        return value
    return _MARKUP.sub(r"\\\1", " ".join(str(value).split()))


def write_card(manifest: Manifest, repo_id: str) -> str:
    """The text of README.md.

    Args:
        manifest: all that is claimed.
        repo_id: where it will be, for the code that loads it.
    """
    name = repo_id.split("/")[-1]
    body = _render("card", manifest, repo_id, name=name)
    return f"---\n{metadata_of(manifest, name).to_yaml()}\n---\n\n{body}"


def loading_code(manifest: Manifest, repo_id: str) -> str:
    """The Python of the card that loads the model with stock diffusers and draws a picture."""
    return _render("loading", manifest, repo_id).rstrip()


def _render(part: str, manifest: Manifest, repo_id: str, **values: object) -> str:
    """The card, or one of the templates that it includes."""
    base, template = manifest.base, _environment().get_template(f"{part}.md.jinja")
    return template.render(
        repo_id=Plain(repo_id),
        manifest=manifest,
        base=Plain(base.name) if base and base.name else None,
        vae=Plain(manifest.vae.name) if manifest.vae and manifest.vae.name else None,
        base_revision=_commit(base.revision if base else None),
        base_variant=_variant(base.variant if base else None),
        table=_table(manifest),
        audit=manifest.audit,
        statements=statements_of(manifest.audit, manifest.beside.get("base"))
        if manifest.audit
        else (),
        quality=manifest.audit.headline_quality if manifest.audit else None,
        settings=sorted(manifest.training.settings.items()),
        advice=_advice(manifest),
        told=told_of(manifest.confirmed),
        others=sorted((EXPORTED[name], name) for name in EXPORTED.keys() & manifest.files.keys()),
        lora=LORA,
        measures=measures_of(manifest.training.settings),
        plain=Plain,
        # The first argument of this one is a picture.
        argument=Plain("prompt=" if manifest.pipeline_class == "Flux2KleinPipeline" else ""),
        length=told_length(
            manifest.pipeline_class, manifest.training.settings.get("max_sequence_length")
        ),
        **values,
    )


@functools.cache
def _environment() -> Environment:
    """Templates of the package, which are compiled once."""
    return Environment(
        loader=PackageLoader("memshield.hub", "."),
        finalize=escape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def require_valid(text: str) -> None:
    """Ask the Hub whether it takes a card's metadata.

    Raises:
        UserError: it does not, in its own words.
    """
    try:
        ModelCard(text).validate(repo_type="model")
    except ValueError as error:
        raise UserError(
            "README.md",
            f"the Hub does not take its metadata: {' '.join(str(error).split())[:300]}",
            "If it is the license: name one that the Hub knows as hub_license, or `other`.",
        ) from None


def metadata_of(manifest: Manifest, name: str) -> ModelCardData:
    """The card's metadata, as the Hub reads it.

    Args:
        manifest: all that is claimed.
        name: of the model, in its results.
    """
    base, data = manifest.base, manifest.dataset
    license = manifest.license or License("other", "unknown")
    lora = manifest.training.kind == "lora"
    tags = ["memshield", "memorization-audit" if manifest.audit else "not-audited"]
    extra: dict[str, Any] = {}
    if lora:
        tags.append("lora")
    if base is not None and base.name:
        extra["base_model_relation"] = "adapter" if lora else "finetune"
    if manifest.gallery and manifest.text:
        # The Hub's own gallery, which wants a text for every picture.
        extra["widget"] = [
            {"text": _one_line(manifest.prompts.get(path)) or "-", "output": {"url": path}}
            for path in manifest.gallery
        ]
    results = _results(manifest)
    return ModelCardData(
        license=license.id,
        license_name=_one_line(license.name),
        license_link=_one_line(license.link),
        library_name="diffusers",
        pipeline_tag=TASKS[manifest.text],
        tags=tags,
        base_model=base.name if base else None,
        datasets=[data.name] if data.name and data.on_hub else None,
        model_name=name if results else None,
        eval_results=results or None,
        **extra,
    )


def _results(manifest: Manifest) -> list[EvalResult]:
    """The audit's figures as the Hub's evaluation results."""
    report = manifest.audit
    if report is None or report.generated.is_broken:
        return []
    dataset: dict[str, Any] = {
        "task_type": TASKS[manifest.text],
        "dataset_name": manifest.dataset.name or WITHHELD,
        "dataset_type": manifest.dataset.name or WITHHELD,
        "dataset_revision": manifest.dataset.revision,
    }
    found = []
    headline = report.headline
    for kind, name, value in (
        ("memorization_share", "given back", headline.share),
        ("memorization_share_by_chance", "given back by chance", headline.control),
        ("memorization_excess", "given back beyond chance", headline.excess),
    ):
        if value is not None:
            named = f"{name} ({headline.statistic}, {headline.space})"
            found.append(_result(kind, named, value, dataset))
    for attack in report.membership:
        named = f"membership inference, AUC ({attack.attack})"
        found.append(_result("membership_auc", named, attack.auc, dataset))
    quality = report.headline_quality
    if quality is not None:
        named = (
            f"{quality.measure} ({quality.space}; {quality.count} generated, "
            f"{quality.reference_count} held out)"
        )
        kind = quality.measure.lower().replace(" ", "_")
        found.append(_result(kind, named, quality.value, dataset))
    return found


def _result(kind: str, name: str, value: float, dataset: dict[str, Any]) -> EvalResult:
    named = _one_line(name)
    return EvalResult(metric_type=kind, metric_name=named, metric_value=round(value, 6), **dataset)


def _table(manifest: Manifest) -> ModelTable | None:
    audit = manifest.audit
    if audit is None:
        return None
    models = [("this model", audit), *manifest.beside.items()]
    return ModelTable.of(models, View.CARD, audit)


def _one_line(text: str | None) -> str | None:
    """Text of another card, as one line of this one's metadata."""
    return " ".join(text.split())[:200] if text else None


def _variant(name: str | None) -> Plain | None:
    found = re.fullmatch(r"[a-z0-9]{1,20}", name or "")
    return Plain(name) if found and name else None


def _advice(manifest: Manifest) -> list[str]:
    """What is recommended otherwise for such a set. The settings may come from a stranger."""
    training = manifest.training
    number = {
        name: value
        for name in ("num_shards", "train_batch_size", "gradient_accumulation_steps")
        if type(value := training.settings.get(name)) is int and 0 < value < 10**9
    }
    a_step = number.get("train_batch_size", 0) * number.get("gradient_accumulation_steps", 1)
    steps = min(training.steps or 0, 10**12)
    situation = Situation(
        pictures=training.pictures,
        shards=number.get("num_shards", 1),
        text=manifest.text,
        scratch=manifest.base is None,
        passes=steps * a_step / max(1, training.pictures),
        settings=training.settings,
    )
    return [one.words for one in advice_on_memorization(situation)]


def _commit(revision: str | None) -> Plain | None:
    """A commit, for code: nothing else is put into code."""
    found = re.fullmatch(r"[0-9a-f]{7,64}", revision or "")
    return Plain(revision) if found and revision else None
