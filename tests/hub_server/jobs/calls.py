"""/api/jobs: start, inspect, list, read and cancel."""

from __future__ import annotations

import time

from tests.hub_server.access import require_identity
from tests.hub_server.call import Call
from tests.hub_server.jobs.job import ENDED, Job
from tests.hub_server.messages import HubError, Response, json_response
from tests.hub_server.pages import page_response

SCOPE = "jobs"
_PATIENCE = 0.3


def start_job(call: Call) -> Response:
    spec = call.request.json()
    job = call.hub.jobs.start(call, _namespace(call, write=True), spec)
    return json_response(job.json())


def list_jobs(call: Call) -> Response:
    query = call.request.query
    wanted = [label.split("=", 1) for label in query.get("label", [])]
    stages = query.get("stage", [])
    found = [
        job for job in call.hub.jobs.of(_namespace(call))
        if (not stages or job.stage in stages)
        and all((job.spec.get("labels") or {}).get(key) == value for key, value in wanted)
    ]  # fmt: skip
    return page_response(call, found, call.hub.page_size, Job.json)


def inspect_job(call: Call) -> Response:
    return json_response(_job(call).json())


def cancel_job(call: Call) -> Response:
    _namespace(call, write=True)
    job = _job(call)
    job.end("CANCELED", grace=call.hub.jobs.cancel_grace)
    return json_response(job.json())


def job_logs(call: Call) -> Response:
    """What it printed so far; a client that follows asks again for what comes after."""
    job, tail = _job(call), call.request.query.get("tail")
    deadline = time.monotonic() + _PATIENCE
    while job.stage not in ENDED and time.monotonic() < deadline:
        time.sleep(0.02)
    return Response(
        200, {"Content-Type": "text/event-stream"}, job.sse(int(tail[-1]) if tail else None)
    )


def _namespace(call: Call, write: bool = False) -> str:
    identity = require_identity(call.identity)
    namespace = call.params["namespace"]
    if not identity.owns(namespace) or not identity.has_scope(SCOPE):
        raise HubError(403, f"You may not see or run Jobs of {namespace!r} with this token.")
    if write and identity.token.role == "read":
        raise HubError(403, "This token may only read: a token with write access is needed.")
    if write and not identity.may("job.write"):
        raise HubError(403, "Missing permissions: this token has no right job.write.")
    return namespace


def _job(call: Call) -> Job:
    job = call.hub.jobs.get(_namespace(call), call.params["job"])
    if job is None:
        raise HubError(404, "Job not found")
    return job
