"""Compares a published model's card and audit page with those that its claims give."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any, NamedTuple

from memshield import __version__
from memshield.hub.card import OWN_KEYS, write_card
from memshield.hub.front_matter import read_front_matter, repeated_keys, split_card
from memshield.hub.manifest import NAME, Manifest

_NAMED = re.compile(r"memshield pull ([\w.-]{1,96}/[\w.-]{1,96})")
_HIDES = re.compile(r"<[A-Za-z/!?]|^ {0,3}(```|~~~)|\$\$", re.MULTILINE)
"""What stands above a text and can hide it or change how it is shown."""
_MOST_LINES, _LONGEST = 5, 120


class Findings(NamedTuple):
    """The result of a check.

    Attributes:
        problems: what differs.
        unchecked: what could not be compared, or is nothing that MemShield wrote.
    """

    problems: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()


def check_card(text: str, manifest: Manifest, repo_id: str | None) -> Findings:
    """Compare a card with the one that its claims give.

    What MemShield wrote must stand in it in one piece. A person may write above and below; that is
    named, for nobody vouches for it.

    Args:
        text: of the card.
        manifest: the claims.
        repo_id: of the repository; None for a folder, which may be of any.
    """
    front, body = split_card(text)
    try:
        values = read_front_matter(front)
    except ValueError as error:
        return Findings((f"it has no valid metadata: {error}",))
    problems = [f"{name} is said twice" for name in repeated_keys(front)]
    named = _named(body)
    if repo_id is not None and named not in (None, repo_id):
        problems.append(f"it is the card of {named}: its code loads that repository")
    expected_front, expected = split_card(write_card(manifest, named or repo_id or "owner/name"))
    differing, more = _compare_metadata(values, read_front_matter(expected_front))
    lacks = [*differing, *_compare_text(body, expected)]
    if lacks and manifest.memshield != __version__:
        words = f"it was written by MemShield {manifest.memshield}, whose words may differ"
        return Findings(tuple(problems), (f"{words} from those of {__version__}",))
    if lacks:
        return Findings((*problems, *lacks))
    above, _, below = f"\n{body}\n".partition(_whole_lines(expected))
    if _HIDES.search(above):
        problems.append("what stands above its text can hide it: HTML, a code fence or a formula")
    written = [line.strip() for line in f"{above}\n{below}".splitlines() if line.strip()]
    return Findings(tuple(problems), (*more, *_listed("it also says", written)))


def _named(body: str) -> str | None:
    """The repository that a card names, to be compared with the whole card of that one."""
    found = _NAMED.search(body)
    return found[1] if found else None


def _whole_lines(text: str) -> str:
    """A text as it must stand in another: beginning and ending with a line of its own."""
    return f"\n{text.strip()}\n"


def _compare_text(body: str, expected: str) -> Iterator[str]:
    """Why a card's text does not hold the expected one in one piece."""
    if _whole_lines(expected) in f"\n{body}\n":
        return
    there = {line.strip() for line in body.splitlines()}
    meant = [line.strip() for line in expected.splitlines() if line.strip()]
    missing = [line for line in meant if line not in there]
    yield from _listed("it lacks", missing)
    if not missing:
        own = set(meant)
        yield from _listed("between its lines stands", sorted(there - own - {""}))
        yield "its lines do not stand in one piece, as they were published"


def _compare_metadata(
    values: Mapping[str, Any], expected: Mapping[str, Any]
) -> tuple[list[str], list[str]]:
    """What differs in the metadata, and what stands beside it."""
    differing = []
    for name in sorted({*expected, *(values.keys() & set(OWN_KEYS))} - {"tags"}):
        if _results(values.get(name)) != _results(expected.get(name)):
            differing.append(
                f"{name} says {_shortened(values.get(name))}, {NAME} "
                f"{_shortened(expected.get(name))}"
            )
    tags = values.get("tags")
    found = [str(tag) for tag in tags] if isinstance(tags, list) else []
    missing = [tag for tag in expected.get("tags", ()) if tag not in found]
    if missing:
        differing.append(f"the tags lack {', '.join(missing)}")
    more = sorted(values.keys() - expected.keys() - set(OWN_KEYS) - {"tags"})
    tagged = [tag for tag in found if tag not in expected.get("tags", ())]
    beside = [*_listed("its metadata also has", more), *_listed("it is also tagged", tagged)]
    return differing, beside


def _results(value: Any) -> Any:
    """A model's index without its name, which is the repository's and may change."""
    if isinstance(value, list) and value and isinstance(value[0], dict) and "results" in value[0]:
        return [value[0]["results"], *value[1:]]
    return value


def _listed(words: str, lines: Sequence[str]) -> Iterator[str]:
    if not lines:
        return
    shown = "; ".join(_shortened(line) for line in lines[:_MOST_LINES])
    rest = f"; and {len(lines) - _MOST_LINES} more" if len(lines) > _MOST_LINES else ""
    yield f"{words}: {shown}{rest}"


def _shortened(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def check_page(text: str, manifest: Manifest) -> Findings:
    """Compare an audit's page with the one that its report gives.

    Args:
        text: of the page.
        manifest: with the audit, and those beside it.
    """
    from memshield.audit.report_page import page_of  # draws with matplotlib

    report = manifest.audit
    if report is None:
        return Findings()
    if text == page_of(report, _beside(manifest), manifest.beside.get("base")):
        return Findings()
    if manifest.memshield != __version__:
        words = f"it was made by MemShield {manifest.memshield}, whose pages may differ"
        return Findings((), (f"{words} from those of {__version__}",))
    for library in ("matplotlib", "numpy"):  # they draw and place its figures
        then, now = report.versions.get(library), version(library)
        if then != now:
            words = f"its figures were drawn with {library} {then or 'of another version'}"
            return Findings((), (f"{words}, here is {now}",))
    return Findings(("it is not the page that the report gives",))


def _beside(manifest: Manifest) -> list[Any]:
    return [report for _, report in sorted(manifest.beside.items())]
