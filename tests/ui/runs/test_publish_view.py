"""What would be published, how far publishing is, and the card."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest

from memshield.errors import UserError, UserErrors
from memshield.hub.card import write_card
from memshield.hub.publish.destination import Destination
from memshield.ui.runs.publish_view import plan_view, publication_view
from memshield.ui.widgets.card import card_text_view, card_view
from tests.hub.claims import manifest_of
from tests.ui.made_runs import HOSTILE, picture
from tests.ui.markup import shows_hostile, text_of

PUBLIC = Destination("ada/digits", public=True, exists=False)


def test_what_would_be_published(tmp_path: Path) -> None:
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "config.json").write_bytes(b"x" * 1500)
    (tmp_path / "README.md").write_bytes(b"y" * 500)
    text = text_of(plan_view(PUBLIC, folder=tmp_path))
    for words in (
        "ada/digits", "public", "new", "Everybody will be able to read", "There are no problems",
        "2 files, 2.0 kB", "unet/config.json", "1.5 kB",
    ):  # fmt: skip
        assert words in text
    private = text_of(plan_view(Destination("ada/x", public=False, exists=True)))
    assert "Only you" in private
    assert "are replaced" in private


def test_what_speaks_against_it() -> None:
    errors = UserErrors(
        [
            UserError("hub_confirm", "the license of the base is not known", "Ask. Or confirm."),
            UserError("hub_model_id", "is missing", "Name it."),
            UserError("hub_model_id", "is missing", "Name it."),
        ]
    )
    text = text_of(plan_view(None, errors))
    assert "2 things to fix or confirm first" in text
    assert "hub model id : is missing" in text
    assert "There are no problems" not in text
    assert "Not published yet" in text_of(plan_view(None))


def test_hostile_findings_and_names_are_shown_as_text(tmp_path: Path) -> None:
    (tmp_path / "<b>x").write_bytes(b"")
    html = plan_view(
        Destination(HOSTILE, public=True, exists=True), UserError(HOSTILE, HOSTILE), tmp_path
    )
    assert shows_hostile(html)
    assert "<b>x" in text_of(html)


def publication(**values: Any) -> dict[str, Any]:
    command = "python -m memshield publish runs/a --hub_model_id ada/digits"
    return {"state": "running", "step": "uploading", "repo_id": "ada/digits", "reason": None,
            "command": command, "waiting": None, **values}  # fmt: skip


def test_how_far_publishing_is() -> None:
    html = publication_view(publication(waiting="the Hub is busy; trying again in 8 s"))
    text = text_of(html)
    assert "Publishing" in text
    assert "trying again in 8 s" in text
    assert "Upload in one commit (now)" in text
    assert text.count("(done)") == 3
    assert html.count('aria-current="step"') == 1
    assert "python -m" not in text


def test_publishing_failed() -> None:
    died: Literal["died"] = "died"
    for values, ended, words in (
        (publication(state="failed", reason="hub: no answer"), None, "hub: no answer"),
        (publication(), died, "the publishing process is gone"),
    ):
        text = text_of(publication_view(values, ended))
        assert words in text
        assert "Upload in one commit (failed)" in text
        assert "python -m memshield publish runs/a" in text


def test_publishing_that_was_stopped_does_not_run() -> None:
    html = publication_view(publication(waiting="the Hub is busy"), "stopped")
    text = text_of(html)
    assert "Stopped before it was published" in text
    assert "Upload in one commit (stopped)" in text
    assert "the Hub is busy" not in text
    assert "ms-running" not in html
    assert "Publish again" in text


def test_the_pages_own_words_stand_in_place_of_the_commands() -> None:
    problems = [UserError("Repository", "is missing", "Name it."), UserError(HOSTILE, HOSTILE)]
    html = publication_view(publication(state="failed", reason="hub_model_id: no"), None, problems)
    assert "Repository : is missing Name it." in text_of(html)
    assert "hub_model_id: no" not in text_of(html)
    assert shows_hostile(html)


def test_published() -> None:
    url = "https://huggingface.co/ada/digits"
    values = publication(
        state="done", step="done", tag="memshield-0123", commit="abc", url=url, public=True,
        files=7, bytes=12_000_000,
    )  # fmt: skip
    html = publication_view(values, "died")
    text = text_of(html)
    assert "Published ada/digits public" in text
    assert f'href="{url}"' in html
    assert text.count("(done)") == 6
    assert "12.0 MB" in text


def test_what_was_published_before_stays_where_a_later_attempt_fails() -> None:
    url = "https://huggingface.co/ada/digits"
    record = {"url": url, "public": True, "outdated": True}
    before = {"ada/digits": record, "ada/other": {"url": url, "public": False}}
    html = publication_view(publication(state="failed", reason="no", published=before))
    text = text_of(html)
    assert "Published before; not updated" in text and "Not published" not in text
    assert "Published before: ada/digits public (an earlier model) ada/other private" in text
    assert f'href="{url}"' in html
    stopped = text_of(publication_view(publication(published=before), "stopped"))
    assert "Published before; stopped before it was updated" in stopped
    elsewhere = publication(state="failed", reason="no", published={"ada/other": record})
    assert "Not published" in text_of(publication_view(elsewhere))


@pytest.mark.parametrize("values", [{"state": 3, "step": None}, {"url": "javascript:alert(1)"}])
def test_a_strange_record_harms_nothing(values: dict[str, Any]) -> None:
    html = publication_view(publication(**values))
    text_of(html)
    assert "href" not in html
    assert "Not published yet" in text_of(publication_view({}))
    assert shows_hostile(publication_view(publication(state="failed", reason=HOSTILE)))


def test_the_card_as_the_hub_shows_it(tmp_path: Path) -> None:
    (tmp_path / "samples").mkdir()
    picture(1).save(tmp_path / "samples" / "0.png")
    manifest = manifest_of(gallery=("samples/0.png", "samples/1.png"))
    (tmp_path / "README.md").write_text(write_card(manifest, "ada/digits"), encoding="utf-8")
    html = card_view(tmp_path)
    text = text_of(html)
    assert "license mit" in text
    assert "memorization-audit" in text
    assert "given back beyond chance" in text
    assert "The model gives training pictures back" in text
    assert "How much does it give back?" in text
    # One picture is there, the other is described.
    assert html.count("<img") == 1
    assert "[A generated picture]" in text
    assert '<a href="https://arxiv.org/abs/2407.15328"' in html
    assert "<summary>All settings</summary>" in html
    assert "&lt;details" not in html
    assert "<h3>digits</h3>" in html
    assert "No card yet" in text_of(card_view(tmp_path / "samples"))


@pytest.mark.parametrize(
    "text",
    [
        HOSTILE,
        f"# {HOSTILE}\n\n- a\n\n> b",
        "[x](javascript:alert(1)) [y](data:text/html,z) [z](//evil.example/x)",
        "![x](https://evil.example/x.png) ![y](../../etc/passwd) ![z](samples/../secret.png)",
        "<https://example.org/?a=<b>> <javascript:alert(1)>",
        "<details><summary><b>x</b></summary>\n\ny\n\n</details>",
        "<details><summary>x</summary>\n<script>alert(1)</script>\n</details>",
        "<details><summary>never closed</summary>\n\ny",
        '[a](https://example.org/"onclick=alert(1)) !["onerror=alert(1)](x.png)',
        "[![picture](x.png) in [a](b)](https://example.org)",
        "---\na: [unclosed\n---\n\ntext",
        "---\n- a\n- b\n---\n\ntext",
        "---\n'<b>x': {x: ['<b>']}\nmodel-index: [3, {results: x}]\n---\n",
        "---\na: &a [*a]\n---\n",
        "---\na: &a [x, x]\nb: [*a, *a]\n---\n",
        "---\n" + "[" * 5000 + "\n---\n",
    ],
)
def test_a_hostile_card_is_harmless(tmp_path: Path, text: str) -> None:
    (tmp_path.parent / "secret.png").write_bytes(b"")
    html = card_text_view(text, tmp_path)
    text_of(html)
    assert "<img" not in html


def test_the_same_card_gives_the_same_bytes() -> None:
    text = write_card(manifest_of(), "ada/digits")
    assert card_text_view(text) == card_text_view(text)
