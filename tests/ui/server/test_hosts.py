"""Under which names the page answers at home."""

from __future__ import annotations

import pytest

from memshield.ui.server.hosts import OwnHost
from tests.ui.server.asking import client, echo


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:7860", "LOCALHOST:7860", "a.localhost", "127.0.0.1:7860", "[::1]:7860",
     "[::1]", "192.168.1.5:80", "box.example", "box.example:443", "box.example."],
)  # fmt: skip
def test_its_own(host: str) -> None:
    asking = client(OwnHost(echo, ["box.example:7860"]))
    assert asking.get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["elsewhere.example", "elsewhere.example:7860", "127.0.0.1.elsewhere.example", "localhost.a",
     "notlocalhost", "box.example.a", "1.2.3.4.5", "a:b:7860", ":7860"],
)  # fmt: skip
def test_any_other(host: str) -> None:
    answer = client(OwnHost(echo, ["box.example"])).get("/config", headers={"Host": host})
    assert answer.status_code == 421
    assert f"MEMSHIELD_HOST={host}." in answer.json()["detail"]
