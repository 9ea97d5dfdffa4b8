"""The view of a log."""

from __future__ import annotations

import pytest

from memshield.ui.widgets.log import MOST_LINES, log_text_view
from tests.ui.made_runs import HOSTILE
from tests.ui.markup import shows_hostile, text_of

TOKEN = "hf_" + "abcdefghijklmnopqrstuvwxyz"


def test_an_empty_log() -> None:
    for text in ("", "\n\n", "\r\r\n"):
        assert "The log is empty" in text_of(log_text_view(text))


def test_a_bar_is_shown_in_its_last_state() -> None:
    html = log_text_view("begin\r\n 10 %|#\r 50 %|##\r100 %|###\nend\r\n")
    assert "<pre>begin\n100 %|###\nend</pre>" in html


def test_colours_and_unseen_characters_are_left_out() -> None:
    text = "\x1b[31mred\x1b[0m \x1b]0;title\x07plain\x1b[2K\x00\x08 \u202eback\ttab"
    assert "<pre>red plain back\ttab</pre>" in log_text_view(text)


def test_only_the_last_lines_are_shown() -> None:
    html = log_text_view("\n".join(f"line {i}" for i in range(1000)))
    assert html.count("line ") == MOST_LINES
    assert "line 999" in html
    assert len(log_text_view("x" * 100_000)) < 2000


def test_tokens_are_taken_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "anything-secret")
    html = log_text_view(f"with {TOKEN} and anything-secret\nAuthorization: Bearer abc")
    assert TOKEN not in html
    assert "anything-secret" not in html
    assert "abc" not in html


def test_hostile_lines_are_shown_as_text() -> None:
    assert shows_hostile(log_text_view(HOSTILE))
