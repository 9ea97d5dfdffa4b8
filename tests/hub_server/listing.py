"""GET /api/models and /api/datasets: search, filter, sort, pages."""

from __future__ import annotations

from collections.abc import Callable

from tests.hub_server.access import is_visible
from tests.hub_server.call import Call
from tests.hub_server.messages import HubError, Response, is_true
from tests.hub_server.pages import page_response
from tests.hub_server.repo import Repo
from tests.hub_server.repo_json import BRIEF_FIELDS, FULL_FIELDS, repo_json, repo_tags, select

# Highest or newest first, as on the Hub.
SORT_KEYS: dict[str, Callable[[Repo], float]] = {
    "createdAt": lambda repo: repo.created_at.timestamp(),
    "lastModified": lambda repo: repo.updated_at.timestamp(),
    "downloads": lambda repo: repo.downloads,
    "likes": lambda repo: repo.likes,
    "trendingScore": lambda repo: repo.likes,
}
MATCHED = {"author", "filter", "gated", "pipeline_tag", "search"}
# What the Hub tells of a repository when asked for it, and refuses to tell in a list.
NOT_LISTED = {"baseModels", "childrenModelCount", "usedStorage"}
PARAMETERS = MATCHED | {"sort", "limit", "cursor", "full", "cardData", "config", "expand"}


def list_repos(call: Call) -> Response:
    """The repos that match, among those that the user may know of."""
    query = call.request.query
    unknown = sorted(query.keys() - PARAMETERS)
    if unknown:
        # The Hub ignores what it does not know. Here a test would pass on the wrong list.
        raise HubError(400, f"this Hub has no list parameter {', '.join(unknown)}")
    refused = sorted(NOT_LISTED & set(query.get("expand", [])))
    if refused:
        raise HubError(400, f"a list cannot be expanded by {', '.join(refused)}")
    sort = query.get("sort", ["trendingScore"])[-1]
    if sort not in SORT_KEYS:
        raise HubError(400, f"sort must be one of {', '.join(SORT_KEYS)}, got {sort!r}")
    found = [repo for repo in call.hub.store.repos(call.repo_type) if _matches(call, repo)]
    found.sort(key=SORT_KEYS[sort], reverse=True)
    return page_response(call, found, _page_size(call), lambda repo: _entry(call, repo))


def _matches(call: Call, repo: Repo) -> bool:
    query = call.request.query
    if not is_visible(repo, call.identity):
        return False
    if not all(term.lower() in repo.repo_id.lower() for term in query.get("search", [])):
        return False
    if not all(author == repo.author for author in query.get("author", [])):
        return False
    if not all(is_true(gated) == repo.gated for gated in query.get("gated", [])):
        return False
    wanted = {*query.get("filter", []), *query.get("pipeline_tag", [])}
    return not wanted or wanted <= set(repo_tags(repo))


def _page_size(call: Call) -> int:
    limit = call.request.query.get("limit", [str(call.hub.page_size)])[-1]
    if not limit.isdecimal() or int(limit) < 1:
        raise HubError(400, f"limit must be a positive whole number, got {limit!r}")
    return min(int(limit), call.hub.page_size)


def _entry(call: Call, repo: Repo) -> dict[str, object]:
    fields = repo_json(repo, repo.commit())
    expand = call.request.query.get("expand")
    if expand is not None:
        return select(fields, expand)
    names = list(FULL_FIELDS if call.request.flag("full") else BRIEF_FIELDS)
    if call.request.flag("cardData") or (call.repo_type == "dataset" and call.request.flag("full")):
        names.append("cardData")
    if call.request.flag("config"):
        names.append("config")
    return select(fields, names)
