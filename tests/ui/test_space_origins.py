"""The page on a Space over HTTPS: what other sites and other visitors get from it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from memshield.ui.new.uploads.adding import add_files
from memshield.ui.new.uploads.tray import Tray
from tests.hub.conftest import BOBS, TOKEN
from tests.hub_server import HubServer
from tests.ui.pages import Visit
from tests.ui.repos import picture, pictures
from tests.ui.servers import Running, end_tasks, serving, space_environment, with_idle_trainings
from tests.ui.test_space import OPERATORS, TINY, browsers_cookie, signed_in
from tests.ui.tls import over_https

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

FOREIGN = (
    {"Origin": "https://elsewhere.example", "Sec-Fetch-Site": "cross-site"},
    {"Origin": "https://elsewhere.example"},  # an older browser's
    {"Origin": "https://bob-memshield.hf.space", "Sec-Fetch-Site": "same-site"},
    {"Origin": "null", "Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
)
FRAME = """<iframe sandbox="allow-downloads allow-forms allow-modals allow-popups allow-same-origin
allow-scripts" src="{}" style="width: 1100px; height: 800px"></iframe>"""
"""As the Hub's page of a Space shows it."""
FETCH = """async ([url, request]) => {
    try {
        const answer = await fetch(url, {credentials: "include", ...request});
        return [answer.status, await answer.text()];
    } catch (error) {
        return [0, String(error)];
    }
}"""


@pytest.fixture(scope="module")
def hub() -> Iterator[HubServer]:
    with HubServer() as server:
        server.add_user("ada", TOKEN)
        server.add_user("bob", BOBS)
        server.add_user("operator", OPERATORS)
        server.add_oauth_client("app", "of-the-app")
        yield server


@pytest.fixture(scope="module")
def space(hub: HubServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("space")
    environment = space_environment(folder, hub, OPERATORS)
    with serving(folder, with_idle_trainings(environment, folder / "idle")) as running:
        yield running
        end_tasks(running.data)


@pytest.fixture(scope="module")
def url(space: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of the page over HTTPS. The Hub is at 127.0.0.1: another site."""
    with over_https(space.port, tmp_path_factory.mktemp("tls")) as port:
        yield f"https://localhost:{port}"


@pytest.fixture
def ada(space: Running, url: str) -> Iterator[httpx2.Client]:
    """A signed-in browser."""
    with over(url, signed_in(space, "ada")) as client:
        yield client


def over(url: str, headers: Mapping[str, str]) -> httpx2.Client:
    """Requests of one browser, without its headers about where they come from."""
    return httpx2.Client(base_url=f"{url}/gradio_api/", headers=headers, verify=False, timeout=60)


def jobs(space: Running) -> set[Path]:
    return set((space.data / "jobs").glob("*"))


@pytest.mark.process
@pytest.mark.parametrize("sent", FOREIGN)
def test_another_origin_gets_nothing_with_the_visitors_cookies(
    space: Running, url: str, ada: httpx2.Client, sent: dict[str, str]
) -> None:
    before = jobs(space)
    body = {"data": [TINY]}
    for method, path in (
        ("POST", "call/submit"),
        ("POST", "run/submit"),
        ("POST", "queue/join"),
        ("POST", "upload"),
        ("OPTIONS", "call/submit"),
        ("GET", "queue/data?session_hash=a"),
        ("GET", "heartbeat/a"),
        ("GET", "info"),
        ("GET", f"{url}/config"),
        ("GET", f"{url}/logout"),
        ("GET", f"{url}/theme.css"),
    ):
        preflight = {"Access-Control-Request-Method": "POST"} if method == "OPTIONS" else {}
        content = body if method == "POST" else None
        answer = ada.request(method, path, json=content, headers={**sent, **preflight})
        assert answer.status_code == 403, path
        assert "Only the page itself" in answer.json()["detail"]
        assert not [name for name in answer.headers if name.startswith("access-control")]
    assert jobs(space) == before


@pytest.mark.process
@pytest.mark.parametrize("as_page", [True, False], ids=["the page", "a script"])
def test_the_page_and_scripts_are_answered(
    space: Running, url: str, ada: httpx2.Client, as_page: bool
) -> None:
    before = jobs(space)
    if as_page:
        ada.headers.update({"Origin": url, "Sec-Fetch-Site": "same-origin"})
    id = ada.post("call/submit", json={"data": [TINY]}).json()["event_id"]
    assert "event: complete" in ada.get(f"call/submit/{id}").text
    assert len(jobs(space) - before) == 1


@pytest.mark.process
def test_nothing_is_kept_for_a_link(url: str, ada: httpx2.Client) -> None:
    joined = ada.post("call/plan", json={"data": [TINY], "session_hash": "linked"})
    assert joined.status_code == 200
    assert ada.get("deep_link?session_hash=linked").status_code == 404
    assert ada.post("process_recording", files={"video": b"a"}).status_code == 404
    assert ada.get("info").status_code == 200


def answers(client: httpx2.Client, path: str) -> str:
    """What comes from an address until the answer of a call, or at once."""
    with client.stream("GET", path) as answer:
        said = ""
        for line in answer.iter_lines():
            said += line
            if "process_completed" in line or "event: complete" in line:
                break
    return said


@pytest.mark.process
def test_a_session_and_a_call_answer_only_the_browser_they_belong_to(
    space: Running, url: str, ada: httpx2.Client
) -> None:
    plan = {"data": [TINY]}
    at_once = [ada.post("call/plan", json=plan).json()["event_id"] for _ in range(2)]
    in_session = ada.post("call/plan", json=plan | {"session_hash": "adas"}).json()["event_id"]
    cancel = {"session_hash": "adas", "fn_index": 0, "event_id": in_session}
    for cookies in (signed_in(space, "bob"), browsers_cookie(space), {}):
        with over(url, cookies) as other:
            for path in (
                *(f"call/plan/{id}" for id in (*at_once, in_session)),
                *(f"call/v2/plan/{id}" for id in (*at_once, in_session)),
                # A call without a session has its own id for one.
                *(f"queue/data?session_hash={id}" for id in (*at_once, "adas")),
                "queue/data?session_hash=b&session_hash=adas",
                "heartbeat/adas",
                "heartbeat/adas/",
            ):
                answer = other.get(path, follow_redirects=True)
                assert answer.status_code == 403 and "yaml" not in answer.text, path
            for path, body in (
                ("call/plan", plan | {"session_hash": "adas"}),
                ("queue/join", plan | {"session_hash": "adas", "fn_index": 0}),
                ("run/predict", plan | {"session_hash": "adas", "fn_index": 0}),
                ("cancel", cancel),
                ("cancel", cancel | {"session_hash": "b"}),
                ("reset", {"event_id": in_session}),
            ):
                assert other.post(path, json=body).status_code == 403, path
    assert "event: complete" in answers(ada, f"call/plan/{at_once[0]}")
    assert "process_completed" in answers(ada, f"queue/data?session_hash={at_once[1]}")
    assert "process_completed" in answers(ada, "queue/data?session_hash=adas")
    assert ada.post("cancel", json=cancel).status_code == 200


def uploaded(client: httpx2.Client, picture: Path, **query: str) -> str:
    """The path that an upload got."""
    files = {"files": (picture.name, picture.read_bytes())}
    (path,) = client.post("upload", files=files, params=query).json()
    return str(path)


def handler_of(client: httpx2.Client, url: str, event: str) -> int:
    """The number of what first answers an event on the page."""
    config = client.get(f"{url}/config").json()
    numbers = (
        one["id"]
        for one in config["dependencies"]
        if any(name == event for _, name in one["targets"])
    )
    return int(next(numbers))


@pytest.mark.process
def test_an_upload_is_read_only_for_the_browser_that_sent_it(
    space: Running, url: str, ada: httpx2.Client, tmp_path: Path
) -> None:
    picture = sorted(pictures(tmp_path / "set", range(1), size=64).iterdir())[0]
    path = uploaded(ada, picture, upload_id="adas-upload")
    number = handler_of(ada, url, "upload")

    def read(client: httpx2.Client, session: str) -> str:
        file = {"path": path, "meta": {"_type": "gradio.FileData"}, "orig_name": "a.png"}
        file["url"] = f"{url}/gradio_api/file={path}"
        body = {"fn_index": number, "data": [[file], ""], "session_hash": session}
        joined = client.post("queue/join", json=body)
        return joined.text if joined.is_error else answers(
            client, f"queue/data?session_hash={session}"
        )  # fmt: skip

    with over(url, signed_in(space, "bob")) as bob:
        assert "belongs to another visitor" in read(bob, "bobs")
        assert bob.get("upload_progress?upload_id=adas-upload").status_code == 403
        # Who has the very same picture may well send it.
        assert uploaded(bob, picture) == path
        assert Path(path).is_file()
        assert "1 picture" in read(bob, "bobs")
    assert uploaded(ada, picture) == path
    assert "1 picture" in read(ada, "adas-uploading")
    assert not Path(path).exists()


@pytest.mark.process
def test_a_tray_is_its_visitors(
    space: Running, url: str, ada: httpx2.Client, tmp_path: Path
) -> None:
    home = space.data / "uploads"
    for place in range(2):
        picture(70 + place, 64).save(tmp_path / f"hers-{place}.png")
    add_files(sorted(tmp_path.iterdir()), home / "ada")
    before = Tray(home / "ada").pictures()
    number = handler_of(ada, url, "act")
    first = before[-2].id
    asks: list[dict[str, Any]] = [
        {"do": "show", "which": "all"},
        {"do": "caption", "captions": {first: "his"}},
        {"do": "remove", "id": first},
        {"do": "remove", "id": f"../../ada/{first}"},
        {"do": "drop"},
        {"do": "clear"},
        {"do": ["clear"], "captions": [first], "id": {}},
    ]

    def act(client: httpx2.Client, session: str, asked: Any) -> str:
        body = {"fn_index": number, "data": [None], "event_data": asked, "session_hash": session}
        assert client.post("queue/join", json=body).status_code == 200
        return answers(client, f"queue/data?session_hash={session}")

    with over(url, signed_in(space, "bob")) as bob:
        for place, asked in enumerate(asks):
            told = act(bob, f"bobs-{place}", asked)
            assert '"success":true' in told and "hers" not in told, asked
    with over(url, browsers_cookie(space)) as nobody:
        assert "you are signed out" in act(nobody, "nobodys", asks[-2])
    assert Tray(home / "ada").pictures() == before
    assert "hers-0.png" in act(ada, "adas-0", asks[0])
    act(ada, "adas-1", {"do": "caption", "captions": {first: "her words"}})
    assert [one.caption for one in Tray(home / "ada").pictures()[-2:]] == ["her words", ""]
    act(ada, "adas-2", asks[2])
    assert Tray(home / "ada").pictures() == [*before[:-2], before[-1]]
    assert "her words" not in space.said


def foreign(visit: Visit, hub: HubServer) -> Page:
    """A page of another site in the visitor's browser."""
    page = visit.page.context.new_page()
    page.goto(f"{hub.endpoint}/oauth/authorize")  # whatever it answers: it is of that origin
    return page


def asked(page: Page, url: str, **request: Any) -> tuple[int, str]:
    """What a page gets from an address; 0 and the error where the browser withholds it."""
    status, text = page.evaluate(FETCH, [url, request])
    return status, text


def submitted(page: Page, url: str) -> tuple[int, str]:
    """What a page gets that wants to train."""
    call = f"{url}/gradio_api/call/submit"
    body = json.dumps({"data": [TINY]})
    content = {"Content-Type": "application/json"}
    status, text = asked(page, call, method="POST", headers=content, body=body)
    return asked(page, f"{call}/{json.loads(text)['event_id']}") if status == 200 else (status, "")


@pytest.mark.browser
def test_another_site_calls_nothing_in_a_visitors_browser(
    browser: Browser, space: Running, url: str, hub: HubServer
) -> None:
    visit = Visit(browser, url, hub.endpoint, form=False)
    visit.sign_in("ada")
    page, before = foreign(visit, hub), jobs(space)
    assert submitted(page, url) == (0, "")
    for path in ("config", "gradio_api/info", "gradio_api/queue/status", "theme.css"):
        assert asked(page, f"{url}/{path}")[0] == 0, path
    page.evaluate("url => { location.href = url }", f"{url}/logout")
    page.wait_for_url(f"{url}/logout")
    assert "Only the page itself" in page.content()
    page.close()
    assert jobs(space) == before

    # The page itself is signed in still, and the very same request is answered.
    status, text = submitted(visit.page, url)
    assert status == 200 and "event: complete" in text
    assert len(jobs(space) - before) == 1
    visit.close()


@pytest.mark.slow
@pytest.mark.browser
def test_a_link_of_another_site_opens_the_page(browser: Browser, url: str, hub: HubServer) -> None:
    visit = Visit(browser, url, hub.endpoint, form=False)
    page = foreign(visit, hub)
    page.evaluate("url => { location.href = url }", url)
    page.get_by_role("heading", name="MemShield").wait_for()
    page.close()
    visit.close()


@pytest.mark.slow
@pytest.mark.browser
def test_the_page_works_in_a_frame_of_the_hubs(
    browser: Browser, space: Running, url: str, hub: HubServer
) -> None:
    """As wholly as in a window, in a browser that blocks the cookies of third parties."""
    visit = Visit(browser, url, hub.endpoint, form=False)
    page = visit.page
    with visit.leaving():
        page.goto(f"{hub.endpoint}/oauth/authorize")
    page.set_content(FRAME.format(url))
    inside = page.frame_locator("iframe")
    inside.get_by_role("heading", name="MemShield").wait_for()
    inside.get_by_role("button", name="Start the demo", exact=True).click()
    inside.locator("#problem-first").get_by_text("Sign in").first.wait_for()
    with visit.leaving():
        inside.get_by_role("button", name="Sign in with Hugging Face").click()
        inside.get_by_role("button", name="bob", exact=True).click()
        inside.get_by_role("button", name="Logout (bob)").wait_for()
    before = jobs(space)
    inside.get_by_role("button", name="Start the demo", exact=True).click()
    inside.locator("#state").get_by_role("heading").first.wait_for()
    assert len(jobs(space) - before) == 1
    assert visit.problems == []
    visit.close()


@pytest.mark.browser
def test_no_other_site_shows_the_page_in_a_frame(browser: Browser, url: str) -> None:
    with HubServer() as other:  # on another port: another origin
        page = browser.new_context(ignore_https_errors=True).new_page()
        page.goto(f"{other.endpoint}/oauth/authorize")
        with page.expect_console_message(lambda message: "frame-ancestors" in message.text):
            page.set_content(FRAME.format(url))
        shown = page.frame_locator("iframe").get_by_role("heading", name="MemShield")
        assert shown.count() == 0
