"""The page at home over plain HTTP: other sites, and foreign names for this machine."""

from __future__ import annotations

import httpx2
import pytest

from tests.ui.servers import Running
from tests.ui.test_space import TINY

CALL = {"data": [{**TINY, "max_train_steps": 1}]}  # no job: that is no choice


@pytest.mark.process
def test_only_the_page_and_scripts_call_it(home: Running) -> None:
    for own in (home.url, f"http://127.0.0.1:{home.port}"):
        call = f"{own}/gradio_api/call/submit"
        for sent in ({}, {"Origin": own}, {"Origin": own, "Sec-Fetch-Site": "same-origin"}):
            assert httpx2.post(call, json=CALL, headers=sent).status_code == 200
        # The page of another server on this machine, and one whose name leads to this machine.
        foreign = {"Origin": "http://localhost:1", "Sec-Fetch-Site": "same-site"}
        rebound = {"Host": f"elsewhere.example:{home.port}", "Sec-Fetch-Site": "same-origin"}
        rebound["Origin"] = f"http://{rebound['Host']}"
        for sent, status in ((foreign, 403), (rebound, 421)):
            assert httpx2.post(call, json=CALL, headers=sent).status_code == status
            for path in ("", "/config", "/gradio_api/info"):
                answer = httpx2.get(f"{own}{path}", headers=sent)
                assert answer.status_code == status
                assert "access-control-allow-origin" not in answer.headers
        assert httpx2.get(f"{own}/gradio_api/deep_link?session_hash=a").status_code == 404
