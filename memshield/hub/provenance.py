"""Whether a run is the one that a published model came from. No torch."""

from __future__ import annotations

from collections.abc import Iterator

from memshield.audit.report import REPORT, Report
from memshield.digests import weights_sha256
from memshield.errors import UserError
from memshield.hub.manifest import Manifest
from memshield.rundir import RunDir
from memshield.runs.publication import published_in, read_publication


def is_from(manifest: Manifest, run: RunDir, thorough: bool = True) -> bool:
    """Whether a published model, which was verified, has the weights of a run.

    Args:
        manifest: of the model.
        run: whatever lies there.
        thorough: whether to read the run's weights where its notes do not tell; that takes seconds
            for large ones.
    """
    if not run.is_run() or not run.examples.is_file():
        return False
    # The tag is a digest of the manifest, and that holds the weights' own.
    published = published_in(read_publication(run)).values()
    if any(record.get("tag") == manifest.tag for record in published):
        return True
    if any(report.target.weights == manifest.weights for report in reports_of(run)):
        return True
    return thorough and any(
        weights_sha256(folder) == manifest.weights
        for folder in (run.model, *run.rounds.glob("*"))
        if folder.is_dir()
    )


def reports_of(run: RunDir) -> Iterator[Report]:
    """The audits of a run's own models that can be read."""
    for path in sorted((run.path / "audit").glob(f"*/{REPORT}")):
        try:
            report = Report.read(path)
        except UserError:
            continue
        if report.target.kind == "run":
            yield report
