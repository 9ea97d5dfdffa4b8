"""The Hub's own origin: the routing table, and the way from a request to an answer."""

from __future__ import annotations

from tests.hub_server.access import identify
from tests.hub_server.account import whoami
from tests.hub_server.buckets.calls import (
    add_shard,
    add_xorb,
    bucket_info,
    bucket_paths_info,
    change_bucket,
    create_bucket,
    delete_bucket,
    list_bucket,
    resolve_in_bucket,
    take_telemetry,
    write_token,
)
from tests.hub_server.call import Call, Handler, Hub
from tests.hub_server.card_rules import validate_yaml
from tests.hub_server.commit_call import create_commit
from tests.hub_server.create import change_settings, create_repo
from tests.hub_server.hardware import list_hardware
from tests.hub_server.info import (
    auth_check,
    auth_check_write,
    list_commits,
    repo_info,
    repo_refs,
)
from tests.hub_server.jobs.calls import cancel_job, inspect_job, job_logs, list_jobs, start_job
from tests.hub_server.lfs import lfs_batch, lfs_verify
from tests.hub_server.listing import list_repos
from tests.hub_server.messages import HubError, Request, Response
from tests.hub_server.oauth import TOKEN_PATH, discovery, jwks, userinfo
from tests.hub_server.oauth_authorize import authorize
from tests.hub_server.oauth_token import issue_token
from tests.hub_server.preupload import preupload
from tests.hub_server.resolve import resolve
from tests.hub_server.routing import Route, find_route
from tests.hub_server.tags import create_tag, delete_tag
from tests.hub_server.tree import list_tree, paths_info

READ = ("GET", "HEAD")
POST = ("POST",)
CHUNK_STORAGE = ("/v1/", "/v2/")

ROUTES: tuple[Route[Handler], ...] = (
    Route(READ, "/api/whoami-v2", whoami),
    Route(READ, "/api/spaces/hardware", list_hardware),
    Route(READ, "/api/jobs/hardware", list_hardware),
    Route(POST, "/api/jobs/{namespace}", start_job),
    Route(READ, "/api/jobs/{namespace}", list_jobs),
    Route(READ, "/api/jobs/{namespace}/{job}", inspect_job),
    Route(READ, "/api/jobs/{namespace}/{job}/logs", job_logs),
    Route(POST, "/api/jobs/{namespace}/{job}/cancel", cancel_job),
    Route(POST, "/api/buckets/{bucket}/batch", change_bucket),
    Route(POST, "/api/buckets/{bucket}/paths-info", bucket_paths_info),
    Route(READ, "/api/buckets/{bucket}/xet-write-token", write_token),
    Route(READ, "/api/buckets/{bucket}/tree", list_bucket),
    Route(READ, "/api/buckets/{bucket}/tree/{path}", list_bucket),
    Route(POST, "/api/buckets/{bucket}", create_bucket),
    Route(READ, "/api/buckets/{bucket}", bucket_info),
    Route(("DELETE",), "/api/buckets/{bucket}", delete_bucket),
    Route(READ, "/buckets/{bucket}/resolve/{path}", resolve_in_bucket),
    Route(POST, "/v1/xorbs/default/{hash}", add_xorb),
    Route(POST, "/v1/shards", add_shard),
    Route(POST, "/v1/telemetry", take_telemetry),
    Route(READ, "/api/{kind}", list_repos),
    Route(READ, "/api/{kind}/{repo}", repo_info),
    Route(READ, "/api/{kind}/{repo}/revision/{revision}", repo_info),
    Route(READ, "/api/{kind}/{repo}/refs", repo_refs),
    Route(READ, "/api/{kind}/{repo}/auth-check", auth_check),
    Route(READ, "/api/{kind}/{repo}/tree/{revision}", list_tree),
    Route(READ, "/api/{kind}/{repo}/tree/{revision}/{path}", list_tree),
    Route(READ, "/api/{kind}/{repo}/commits/{revision}", list_commits),
    Route(POST, "/api/{kind}/{repo}/paths-info/{revision}", paths_info),
    Route(READ, "/{prefix}{repo}/resolve/{revision}/{path}", resolve),
    Route(POST, "/api/validate-yaml", validate_yaml),
    Route(POST, "/api/repos/create", create_repo),
    Route(("PUT",), "/api/{kind}/{repo}/settings", change_settings),
    Route(READ, "/api/{kind}/{repo}/auth-check/write", auth_check_write),
    Route(POST, "/api/{kind}/{repo}/preupload/{revision}", preupload),
    Route(POST, "/{prefix}{repo}.git/info/lfs/objects/batch", lfs_batch),
    Route(POST, "/{prefix}{repo}.git/info/lfs/verify", lfs_verify),
    Route(POST, "/api/{kind}/{repo}/commit/{revision}", create_commit),
    Route(POST, "/api/{kind}/{repo}/tag/{revision}", create_tag),
    Route(("DELETE",), "/api/{kind}/{repo}/tag/{revision}", delete_tag),
    Route(READ, "/.well-known/openid-configuration", discovery),
    Route(READ, "/oauth/authorize", authorize),
    Route(READ, "/oauth/jwks", jwks),
    Route(READ, "/oauth/userinfo", userinfo),
    Route(POST, TOKEN_PATH, issue_token),
)


def answer(hub: Hub, request: Request) -> Response:
    """Who is asking, which handler, its answer or its error."""
    try:
        authorization = request.headers.get("authorization")
        if request.path == TOKEN_PATH:
            # An app that fetches a token names itself there, not a user.
            authorization = None
        elif request.path.startswith(CHUNK_STORAGE):
            # It has tokens of its own, and must never see a user's.
            if authorization != f"Bearer {hub.chunk_token}":
                raise HubError(401, "chunk storage takes no other tokens than its own")
            authorization = None
        identity = identify(hub.store, authorization)
        handler, params = find_route(ROUTES, request.method, request.path)
        return handler(Call(hub, request, params, identity))
    except HubError as error:
        return error.response()
