"""The audit as it may be published: without seeds, local paths and withheld names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from memshield.audit.report import REPORT, Missing, Report
from memshield.digests import weights_sha256
from memshield.errors import UserError
from memshield.hub.manifest import MOST_BESIDE, Dataset
from memshield.rundir import RunDir

WITHHELD = "withheld"
_NAME = re.compile(r"[A-Za-z0-9][\w .-]{0,40}")


def audit_of_model(run: RunDir) -> tuple[Report | None, str | None]:
    """The audit of the very weights in model/.

    Returns:
        The report, or None and why there is none.

    Raises:
        UserError: the report cannot be read.
    """
    path = run.audit_of(None) / REPORT
    if not path.is_file():
        return None, "the model was not audited"
    report = Report.read(path)
    if report.target.weights != weights_sha256(run.model):
        return None, "the audit is of other weights than those of the model"
    return report, None


def beside_of(run: RunDir, named: Sequence[str], report: Report | None) -> dict[str, Report]:
    """Audits to set beside the model's: of its base, and of those that are named.

    Args:
        run: the run; the base's audit is found where `audit --beside base` leaves it.
        named: `name=path` of an audit or an audited run, or a path alone, which is "plain".
        report: of the model; without one nothing is set beside it.

    Raises:
        UserError: there is no such audit, it is of other pictures, or there are too many.
    """
    if report is None:
        return {}
    found: dict[str, Report] = {}
    base = run.path / "audit" / "base" / REPORT
    if base.is_file():
        found["base"] = Report.read(base)
    if "base" in found and not _are_alike(found["base"], report):
        del found["base"]  # of an earlier audit; nobody named it
    for word in named:
        name, sign, place = word.partition("=")
        if not sign or Path(word).exists():
            name, place = "plain", word
        if not _NAME.fullmatch(name) or name in (*found, "base", "this model"):
            raise UserError(
                "beside",
                f"{name!r} is no name for an audit beside the model's, or is taken",
                "Give NAME=PATH, with a name of letters and digits of its own.",
            )
        found[name] = _read(Path(place))
        if not _are_alike(found[name], report):
            raise UserError(
                "beside",
                f"{name} was audited on other training or held-out pictures",
                "Name audits of the same training and held-out pictures.",
            )
    if len(found) > MOST_BESIDE:
        raise UserError(
            "beside", f"{len(found)} audits are too many for a card", f"Name {MOST_BESIDE} at most."
        )
    return found


def _are_alike(one: Report, other: Report) -> bool:
    ours, theirs = (
        (data.fingerprint, data.resolution, data.compared_crops, data.held_out)
        for data in (one.data, other.data)
    )
    return ours == theirs


def _read(path: Path) -> Report:
    for file in (path, path / REPORT, path / "audit" / "model" / REPORT):
        if file.is_file():
            return Report.read(file)
    raise UserError("beside", f"{path} holds no audit", f"python -m memshield audit {path}")


def published(report: Report, name: str, base: str | None, data: Dataset) -> Report:
    """A report without its private parts.

    Args:
        report: of the model, or of one beside it.
        name: to call it by, in place of the name of a folder.
        base: Hub id of the base; None where it is withheld, or not this model's.
        data: as it is called; where it is withheld its fingerprint goes as well, for with that a
            guess of the whole set can be confirmed.
    """
    target = report.target.model_copy(
        update={"name": name, "base": base, "revision": report.target.revision if base else None}
    )
    pictures: dict[str, object] = {"name": data.name or WITHHELD, "revision": data.revision}
    if data.name is None:
        pictures["fingerprint"] = WITHHELD
    return report.model_copy(
        update={
            "target": target,
            "data": report.data.model_copy(update=pictures),
            "generated": report.generated.model_copy(update={"seed": None}),
            "memorization": tuple(
                one.model_copy(update={"space": _space(one.space)}) for one in report.memorization
            ),
            "quality": tuple(
                one.model_copy(update={"space": _space(one.space)}) for one in report.quality
            ),
            "missing": tuple(map(_missing, report.missing)),
        }
    )


def _space(name: str) -> str:
    """A feature space by its name; one of a folder or file of this machine without it."""
    if name.startswith("SSCD "):
        return f"SSCD@{name.rpartition('@')[2]}"
    on_hub = re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{8}", name) is not None
    return name if on_hub or name.startswith("pixels") else "own features"


def _missing(one: Missing) -> Missing:
    """A measure that is missing; why weights could not be had may name a folder."""
    kind, colon, name = one.measure.partition(": ")
    if not colon:
        return one
    known = name in ("dinov2", "clip")
    return Missing(
        measure=f"{kind}: {name if known else 'own'}", reason="its weights could not be had"
    )
