"""The audit as it may be published: of these weights, without seeds, places and withheld names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from memshield.audit.report import REPORT, Missing, Report
from memshield.digests import weights_sha256
from memshield.errors import UserError
from memshield.rundir import RunDir

WITHHELD = "withheld"


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
        UserError: there is no such audit, or it is of other pictures.
    """
    if report is None:
        return {}
    found: dict[str, Report] = {}
    base = run.path / "audit" / "base" / REPORT
    if base.is_file():
        found["base"] = Report.read(base)
    for word in named:
        name, sign, place = word.partition("=")
        name, place = (name, place) if sign else ("plain", name)
        found[name] = _read(Path(place))
    for name, other in found.items():
        same = other.data.fingerprint == report.data.fingerprint
        if not same or other.data.resolution != report.data.resolution:
            raise UserError(
                "beside",
                f"{name} was audited on other training pictures",
                "Name audits of models that were trained on the same pictures.",
            )
    return found


def _read(path: Path) -> Report:
    for file in (path, path / REPORT, path / "audit" / "model" / REPORT):
        if file.is_file():
            return Report.read(file)
    raise UserError("beside", f"{path} holds no audit", f"python -m memshield audit {path}")


def published(report: Report, name: str, base: str | None, withheld: bool) -> Report:
    """A report without what is nobody else's business.

    Args:
        report: of the model, or of one beside it.
        name: to call it by, in place of the name of a folder.
        base: Hub id of the base; None where it is withheld.
        withheld: whether the dataset is: its name, revision and fingerprint go, for with a
            fingerprint a guess of the whole set can be confirmed.
    """
    target = report.target.model_copy(
        update={"name": name, "base": base, "revision": report.target.revision if base else None}
    )
    data = report.data
    if withheld:
        data = data.model_copy(update={"name": WITHHELD, "revision": None, "fingerprint": WITHHELD})
    # A reason may name a folder of this machine.
    missing = tuple(
        Missing(measure=Path(one.measure).name, reason="could not be taken")
        if "/" in one.measure + one.reason
        else one
        for one in report.missing
    )
    generated = report.generated.model_copy(update={"seed": None})
    return report.model_copy(
        update={"target": target, "data": data, "missing": missing, "generated": generated}
    )
