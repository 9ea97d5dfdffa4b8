"""`python -m memshield search models|datasets TEXT`: what is there on the Hub."""

from __future__ import annotations

from collections.abc import Sequence

from memshield.config.flags import plain_parser
from memshield.hub.catalog.results import DatasetFound, ModelFound, Page
from memshield.hub.catalog.search import search_datasets, search_models
from memshield.hub.catalog.table import rounded, table, to_json
from memshield.network import Token


def main(argv: Sequence[str]) -> int:
    """Print a page of what is found."""
    parser = plain_parser(
        "python -m memshield search",
        "Find models that can be fine-tuned, or datasets of pictures, the most downloaded first.",
    )
    parser.add_argument("what", choices=("models", "datasets"))
    parser.add_argument("text", nargs="?", default="", help="part of the id; all without it")
    parser.add_argument(
        "--limit", type=int, default=20, metavar="N", help="how many, at most 100 [20]"
    )
    parser.add_argument(
        "--offset", type=int, default=0, metavar="N", help="how many to pass over [0]"
    )
    parser.add_argument("--json", action="store_true", help="for machines")
    parser.add_argument("--signed_out", action="store_true", help="send no token")
    flags = parser.parse_args(argv)
    token: Token = False if flags.signed_out else None
    page: Page[ModelFound] | Page[DatasetFound]
    if flags.what == "models":
        page = search_models(flags.text, token=token, limit=flags.limit, offset=flags.offset)
    else:
        page = search_datasets(flags.text, token=token, limit=flags.limit, offset=flags.offset)
    print(to_json(page) if flags.json else _lines(page, flags.what))
    return 0


def _lines(page: Page[ModelFound] | Page[DatasetFound], what: str) -> str:
    if not page.items:
        return f"No {what} found."
    heads = ("MODEL", "PIPELINE", "PARAMETERS:") if what == "models" else ("DATASET", "ROWS:")
    lines = table((*heads, "DOWNLOADS:", "LICENSE", ""), map(_cells, page.items))
    if page.more:
        lines += f"\nThere are more: --offset {page.offset + len(page.items)}"
    return lines


def _cells(found: ModelFound | DatasetFound) -> tuple[str, ...]:
    if isinstance(found, ModelFound):
        own: tuple[str, ...] = (found.pipeline_class, rounded(found.parameters))
    else:
        own = (found.size_category or "?" if found.rows is None else str(found.rows),)
    closed = [word for word, so in (("gated", found.gated), ("private", found.private)) if so]
    license = "?" if found.license is None else found.license.name or found.license.id
    return found.id, *own, rounded(found.downloads), license, " ".join(closed)
