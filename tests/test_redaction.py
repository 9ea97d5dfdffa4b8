"""Tokens are taken out of text and logs."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path

import pytest

from memshield.redaction import HIDDEN, guard_logging, holds_token, redact
from memshield.rundir import EventLog, RunDir, StatusFile

SHAPED = "hf_" + "a1B2" * 8


@pytest.mark.parametrize(
    "text",
    [
        SHAPED,
        f"Authorization: Bearer {SHAPED}",
        "authorization: bearer something-else",
        "{'authorization': 'Bearer else'}",
        "(b'Authorization', b'Bearer else')",
        json.dumps(json.dumps({"Authorization": "Bearer else"})),
        "it sent Bearer eyJhbGciOi.JIUzI1NiJ9",
        "api_org_" + "x" * 24,
        "hf_oauth_" + "eyJ.x-" * 6,
    ],
)
def test_what_looks_like_a_token_is_hidden(text: str) -> None:
    assert HIDDEN in redact(text)
    assert holds_token(text)
    assert SHAPED not in redact(text)


@pytest.mark.parametrize("text", ["hf_hub_download", "hf_xet", "a bearer of news", "hf_short"])
def test_other_words_stay(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "a flag bearer in the snow",
        'the ring bearer "Tom"',
        "Bearer of unconstitutionally",
        "bearer",
    ],
)
def test_a_bearer_in_a_caption_is_no_token(text: str) -> None:
    assert not holds_token(text)
    written = redact(json.dumps({"prompt": text}))
    assert json.loads(written) == {"prompt": text}


def test_the_token_of_the_environment_is_hidden_whatever_it_looks_like(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_TOKEN", "correct horse battery")
    assert redact("it is correct horse battery, he said") == f"it is {HIDDEN}, he said"
    monkeypatch.setenv("HF_TOKEN", "")
    assert redact("nothing") == "nothing"


def test_logs_are_redacted_with_their_tracebacks() -> None:
    stream, logger = io.StringIO(), logging.getLogger("huggingface_hub")
    handler = logging.StreamHandler(stream)
    logger.addHandler(handler)
    try:
        guard_logging()
        guard_logging()
        try:
            raise ValueError(SHAPED)
        except ValueError:
            logger.exception("with %s", SHAPED)
    finally:
        logger.removeHandler(handler)
    assert SHAPED not in stream.getvalue()
    assert stream.getvalue().count(HIDDEN) == 3 or stream.getvalue().count(HIDDEN) == 2


def test_events_and_status_are_redacted(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    EventLog(run, 1).write("error", reason=f"refused {SHAPED}")
    status = StatusFile(run, 1)
    status.set("failed", f"refused {SHAPED}")
    status.close()
    for path in (run.events, run.status):
        assert SHAPED not in path.read_text()
        json.loads(path.read_text().splitlines()[-1] if path == run.events else path.read_text())
