"""Cards and pages of published models that say other things than their claims, or more."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from memshield.__main__ import main
from memshield.audit.report import PAGE, REPORT, Report
from memshield.audit.report_page import write_page
from memshield.errors import UserError
from memshield.hub.allowed_files import CARD
from memshield.hub.publish.publishing import Publisher, open_to_publish
from memshield.hub.verify import Check, in_folder, verify
from memshield.rundir import RunDir
from tests.trained_runs import ROOT

CARD_CHECK = "the card is the one that the claims give"
PAGE_CHECK = "the audit's page is the one that the report gives"
VERDICT = "No sign beyond chance"


@pytest.fixture(scope="module")
def drafted(trained_digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is published of a run, assembled once."""
    run, config = open_to_publish(trained_digits, hub_model_id="ada/digits", hub_license="mit")
    folder = tmp_path_factory.mktemp("published") / "model"
    Publisher(run, config).draft(folder)
    return folder


@pytest.fixture
def published(drafted: Path, tmp_path: Path) -> Path:
    """A folder of its own with a published model."""
    return Path(shutil.copytree(drafted, tmp_path / "published"))


def check_of(folder: Path, what: str = CARD_CHECK) -> Check:
    return next(check for check in verify(in_folder(folder)) if check.what == what)


def edit(path: Path, change: Callable[[str], str]) -> None:
    text = path.read_text(encoding="utf-8")
    changed = change(text)
    assert changed != text
    path.write_text(changed, encoding="utf-8")


def body_of(text: str) -> tuple[str, str]:
    front, body = text.split("\n---\n", 1)
    return f"{front}\n---\n", body


def around(above: str, below: str = "") -> Callable[[str], str]:
    """Text above and below the body of a card."""

    def change(text: str) -> str:
        front, body = body_of(text)
        return f"{front}\n{above}\n{body}\n{below}\n"

    return change


def test_what_was_published_holds(published: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert {check.state for check in verify(in_folder(published))} == {"ok"}
    assert main(["verify", str(published)]) == 0
    said = capsys.readouterr().out
    assert "consistent with itself." in said
    assert "does not say who made it, nor that its figures were measured" in said
    assert "claims to be" not in said


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (around("Certified: memorizes nothing.\n\n<div hidden>\n", "</div>"), "can hide it"),
        (around("Certified.\n\n<!-- ", "-->"), "can hide it"),
        (around("Certified.\n\n```", "```"), "can hide it"),
        (lambda text: text.replace("# digits", "# digits, certified"), "it lacks: # digits"),
        (lambda text: text.replace("# digits", "Certified. # digits"), "it lacks: # digits"),
        (lambda text: text.replace("# digits", "    # digits"), "not stand in one piece"),
        (lambda text: text.replace(VERDICT, "Proven safe"), "it lacks: - Copies"),
        (lambda text: text.replace("| this model | 0.0 %", "| this model | 9 %"), "it lacks: |"),
        (
            lambda text: text.replace("\nMemorization: ", "\n0 of 1,000,000 are copies.\n\nMemor"),
            "it lacks: Memorization",
        ),
        (
            lambda text: text.replace("\nMemorization: ", "\nNo copies.\n\nMemorization: "),
            "between its lines stands: No copies.",
        ),
        (lambda text: text.replace("license: mit", "license: mit\nlicense: x"), "said twice"),
        (lambda text: text.replace("license: mit", "license: apache-2.0"), "license says apache"),
        (lambda text: text.replace("value: 0.369", "value: 0.169"), "model-index says"),
        (lambda text: text.replace("- memshield\n", ""), "the tags lack memshield"),
        (lambda text: text.replace("license: mit", "license: ["), "no valid metadata"),
        (lambda text: text.replace("license: mit", "license: !!python/name:os.x"), "no valid"),
        (lambda text: text.replace("---\n", "", 1), "license says None"),
    ],
)  # fmt: skip
def test_cards_that_say_something_else(
    published: Path, change: Callable[[str], str], words: str
) -> None:
    edit(published / CARD, change)
    found = check_of(published)
    assert found.state == "failed"
    assert any(words in problem for problem in found.problems), found.problems


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (around("", "0 of 1,000,000 pictures are copies."), "it also says: 0 of 1,000,000"),
        (around("Thanks to everybody."), "it also says: Thanks to everybody."),
        (around("", "<script>alert(1)</script>"), "it also says: <script>"),
        (lambda text: text.replace("license: mit", "license: mit\nthumbnail: x"), "thumbnail"),
        (lambda text: text.replace("- memshield\n", "- memshield\n- safe\n"), "tagged: safe"),
    ],
)
def test_what_stands_beside_is_named_and_not_vouched_for(
    published: Path,
    change: Callable[[str], str],
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    edit(published / CARD, change)
    found = check_of(published)
    assert found.state == "not checked"
    assert any(words in line for line in found.unchecked), found.unchecked
    assert main(["verify", str(published)]) == 3
    said = capsys.readouterr().out
    assert f"NOT CHECKED  {CARD_CHECK}" in said and words in said


def test_a_card_writes_nothing_over_the_verdict(
    published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card = published / CARD
    text = card.read_text(encoding="utf-8")
    evil = "\x1b[1A\x1b[2Kok           everything"
    card.write_text(text.replace("---\n", '---\ntags2: "\\e[2J\\e[Hok"\n', 1) + f"\n{evil}\n")
    assert main(["verify", str(published)]) == 3
    said = capsys.readouterr().out
    assert "NOT CHECKED" in said
    assert "\x1b" not in said


def test_line_ends_of_another_editor_change_nothing(published: Path) -> None:
    path = published / CARD
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert check_of(published).state == "ok"


def republish(folder: Path, **changes: object) -> None:
    """Write memshield.json anew, with the hashes of the files that lie there."""
    from memshield.digests import file_sha256

    path = folder / "memshield.json"
    values = {**json.loads(path.read_text()), **changes}
    values["files"] = {name: file_sha256(folder / name) for name in values["files"]}
    path.write_text(json.dumps(values), encoding="utf-8")


def test_a_page_that_lies_under_a_right_hash(published: Path) -> None:
    edit(published / "audit/report.html", lambda text: text.replace(VERDICT, "Proven safe"))
    republish(published)
    found = check_of(published, PAGE_CHECK)
    assert found.problems == ("it is not the page that the report gives",)


def test_figures_of_another_library_are_not_vouched_for(published: Path) -> None:
    def older(text: str) -> str:
        values = json.loads(text)
        report = values.get("audit", values)
        report["versions"]["matplotlib"] = "3.0.0"
        return json.dumps(values)

    edit(published / "audit/report.json", older)
    edit(published / "memshield.json", older)
    republish(published)
    found = check_of(published, PAGE_CHECK)
    assert found.state == "not checked"
    assert "matplotlib 3.0.0" in found.unchecked[0]


def test_card_and_page_hold_a_model_against_its_base(digits_run: RunDir, tmp_path: Path) -> None:
    report = Report.read(digits_run.audit_of(None) / REPORT)
    report.write(digits_run.path / "audit" / "base" / REPORT)
    run, config = open_to_publish(digits_run.path, hub_model_id="ada/digits", hub_license="mit")
    folder = tmp_path / "published"
    manifest = Publisher(run, config).draft(folder)
    page = folder / "audit" / PAGE
    for file in (folder / CARD, page):
        assert "Before it was trained, the model had" in file.read_text()
    assert {check.state for check in verify(in_folder(folder))} == {"ok"}

    assert manifest.audit is not None
    write_page(manifest.audit, page, list(manifest.beside.values()))
    assert "Before it was trained" not in page.read_text()
    republish(folder)
    assert check_of(folder, PAGE_CHECK).state == "failed"


def test_limits_that_were_left_out(published: Path) -> None:
    def boasting(text: str) -> str:
        values = json.loads(text)
        values.get("audit", values)["limits"] = ["None: certified to memorize nothing."]
        return json.dumps(values)

    edit(published / "audit/report.json", boasting)
    edit(published / "memshield.json", boasting)
    republish(published)
    found = check_of(published, "the audit is of these weights, and agrees with itself")
    assert "the list of limits does not follow from the figures" in found.problems


def test_another_version_is_not_checked_rather_than_ok(
    published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    republish(published, memshield="99.0")
    assert check_of(published).state == "ok", "the same words are the same, whoever wrote them"
    edit(published / CARD, lambda text: text.replace(VERDICT, "Certified, no sign"))
    edit(published / "audit/report.html", lambda text: text.replace(VERDICT, "Certified"))
    republish(published)
    for what in (CARD_CHECK, PAGE_CHECK):
        found = check_of(published, what)
        assert found.state == "not checked"
        assert "MemShield 99.0" in found.unchecked[0]
    assert main(["verify", str(published)]) == 3
    assert "as far as it was checked" in capsys.readouterr().out


ALIASES = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)
)


@pytest.mark.process
@pytest.mark.parametrize("name", ["tags", "k"])
def test_aliases_that_expand_without_end_are_refused(published: Path, name: str) -> None:
    bomb = f"{ALIASES}{name}: *a9\n"
    edit(published / CARD, lambda text: text.replace("---\n", f"---\n{bomb}", 1))
    child = subprocess.run(
        [sys.executable, "-m", "memshield", "verify", str(published)],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert child.returncode == 1, child.stderr
    assert "aliases are not allowed" in child.stdout


def test_many_keys_and_deep_nesting_take_seconds(published: Path) -> None:
    whole = (published / CARD).read_text()
    keys = "".join(f"k{number}: 1\n" for number in range(15_000))
    began = time.process_time()
    edit(published / CARD, lambda text: text.replace("---\n", f"---\n{keys}", 1))
    assert check_of(published).state == "not checked"
    (published / CARD).write_text(whole.replace("---\n", f"---\nk: {'[' * 100_000}\n", 1))
    assert "no valid metadata" in check_of(published).problems[0]
    assert time.process_time() - began < 20
    (published / CARD).write_text(whole + "x" * 300_000)
    assert check_of(published).problems == ("README.md is too large to be a card",)


def test_a_setting_whose_name_is_markup_is_refused(published: Path) -> None:
    values = json.loads((published / "memshield.json").read_text())
    values["training"]["settings"]["x` | **Certified** |"] = 1
    (published / "memshield.json").write_text(json.dumps(values))
    with pytest.raises(UserError, match="a name that is no setting's"):
        verify(in_folder(published))
