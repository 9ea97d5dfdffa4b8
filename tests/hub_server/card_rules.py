"""What the Hub demands of a card, and POST /api/validate-yaml, by which clients ask beforehand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import yaml

from tests.hub_server.call import Call
from tests.hub_server.card import front_matter
from tests.hub_server.messages import HubError, Response, json_response

# Those of the Hub's list that models and pictures usually have.
CODE_LICENSES = ("agpl-3.0", "apache-2.0", "bsd-3-clause", "gpl-3.0", "lgpl-3.0", "mit", "mpl-2.0")
MODEL_LICENSES = ("creativeml-openrail-m", "bigscience-openrail-m", "openrail", "openrail++")
DATA_LICENSES = ("cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0",
                 "cc-by-nd-4.0", "cc-by-nc-nd-4.0", "odbl")  # fmt: skip
NO_LICENSES = ("other", "unknown", "unlicense")
LICENSES = frozenset(CODE_LICENSES + MODEL_LICENSES + DATA_LICENSES + NO_LICENSES)
STRINGS = ("library_name", "license_link", "license_name", "pipeline_tag", "pretty_name")
STRINGS_OR_LISTS = ("base_model", "datasets", "language", "license", "metrics", "tags")
NO_METADATA = "empty or missing yaml metadata in repo card"


@dataclass(frozen=True)
class Verdict:
    """What is wrong, and what is merely missing."""

    errors: list[str]
    warnings: list[str]


def validate_yaml(call: Call) -> Response:
    """200 with warnings, or 400 with errors. Open to everybody."""
    payload = call.request.json()
    content = payload.get("content")
    if not isinstance(content, str):
        raise HubError(400, f"content must be a string, got {content!r}")
    verdict = check_card(content)
    answer = {
        "errors": [{"message": message} for message in verdict.errors],
        "warnings": [{"message": message} for message in verdict.warnings],
    }
    if verdict.errors:
        raise HubError(400, "Invalid metadata in README.md", payload=answer)
    return json_response(answer)


def check_card(readme: str) -> Verdict:
    """All that can be said about a README's front matter."""
    text = front_matter(readme)
    if text is None:
        return Verdict([], [NO_METADATA])
    try:
        card = yaml.safe_load(text)
    except yaml.YAMLError as error:
        return Verdict([f"invalid YAML: {' '.join(str(error).split())}"], [])
    if card is None:
        return Verdict([], [NO_METADATA])
    if not isinstance(card, dict):
        return Verdict(['"metadata" must be a mapping of names to values'], [])
    return Verdict([error for check in _CHECKS for error in check(card)], [])


def _types(card: Mapping[str, object]) -> list[str]:
    is_string = {name: isinstance(card[name], str) for name in STRINGS if name in card}
    is_either = {name: _is_strings(card[name]) for name in STRINGS_OR_LISTS if name in card}
    return [
        *(f'"{name}" must be a string' for name, good in is_string.items() if not good),
        *(f'"{name}" must be a string or a list' for name, good in is_either.items() if not good),
    ]


def _license(card: Mapping[str, object]) -> list[str]:
    found = card.get("license", [])
    names = found if isinstance(found, list) else [found]
    return [
        f'"license" must be one of the known ones, got {name!r}: use "other" with "license_name"'
        for name in names
        if isinstance(name, str) and name not in LICENSES
    ]


def _model_index(card: Mapping[str, object]) -> list[str]:
    """The shape that evaluation results must have."""
    if "model-index" not in card:
        return []
    entries = card["model-index"]
    if not isinstance(entries, list):
        return ['"model-index" must be a list']
    errors = []
    for number, entry in enumerate(entries):
        where = f'"model-index[{number}]'
        results = entry.get("results") if isinstance(entry, dict) else None
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            errors.append(f'{where}.name" must be a string')
        if not isinstance(results, list):
            errors.append(f'{where}.results" must be a list')
            continue
        for index, result in enumerate(results):
            errors += _result(f"{where}.results[{index}]", result)
    return errors


def _result(where: str, result: object) -> list[str]:
    if not isinstance(result, dict):
        return [f'{where}" must be a mapping']
    errors = []
    if not _has_strings(result.get("task"), "type"):
        errors.append(f'{where}.task.type" must be a string')
    if not _has_strings(result.get("dataset"), "type", "name"):
        errors.append(f'{where}.dataset" must have a type and a name')
    metrics = result.get("metrics")
    if not isinstance(metrics, list) or not all(
        _has_strings(metric, "type") and "value" in metric for metric in metrics
    ):
        errors.append(f'{where}.metrics" must be a list, each with a type and a value')
    return errors


def _has_strings(value: object, *names: str) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(name), str) for name in names)


def _is_strings(value: object) -> bool:
    items = value if isinstance(value, list) else [value]
    return all(isinstance(item, str) for item in items)


_CHECKS: tuple[Callable[[Mapping[str, object]], list[str]], ...] = (_types, _license, _model_index)
