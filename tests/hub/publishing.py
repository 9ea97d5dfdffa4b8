"""Publishing from tests, and what must hold afterwards."""

from __future__ import annotations

from typing import Any

from memshield.hub.account import api_for
from memshield.hub.allowed_files import is_allowed
from memshield.hub.publish.publishing import PublishedModel, Publisher, open_to_publish
from memshield.hub.verify import on_hub, verify
from memshield.rundir import RunDir
from tests.hub.conftest import FakeClock
from tests.hub_server import HubServer


def publish(run: RunDir, clock: FakeClock | None = None, **changes: Any) -> PublishedModel:
    """Publish a run of digits, under a license and a name unless others are given."""
    settings = {"hub_model_id": "ada/digits", "hub_license": "mit", **changes}
    beside = settings.pop("beside", ())
    run, config = open_to_publish(run.path, **settings)
    return Publisher(run, config, beside=beside, clock=clock or FakeClock()).publish()


def require_complete(hub: HubServer, published: PublishedModel) -> None:
    """The tag, and the newest commit where it is another, hold a whole model and true claims."""
    assert hub.tags("model", published.repo_id)[published.tag] == published.commit
    newer = hub.head("model", published.repo_id) != published.commit
    for revision in (published.tag, "main") if newer else (published.tag,):
        files = hub.repo_files("model", published.repo_id, revision)
        assert all(is_allowed(name) for name in files if name != ".gitattributes")
        holding, _ = on_hub(api_for(), published.repo_id, revision)
        checks = verify(holding)
        assert len(checks) == 6
        assert not [check for check in checks if check.state != "ok"]
