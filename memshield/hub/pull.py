"""Fetches a published model, checks it, and opens it as a pipeline."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download

from memshield.audit.statements import lines_of
from memshield.config.flags import given
from memshield.errors import UserError, UserErrors
from memshield.hub.account import api_for
from memshield.hub.allowed_files import CARD
from memshield.hub.catalog.access import require_id
from memshield.hub.catalog.table import plain
from memshield.hub.manifest import NAME, Manifest
from memshield.hub.verify import Check, in_folder, on_hub, read_manifest, reading_parser, verify
from memshield.network import Token, asking
from memshield.paths import expanded

log = logging.getLogger("memshield")


def pull(
    repo_id: str,
    revision: str | None = None,
    *,
    token: Token = None,
    base: str | None = None,
    **options: Any,
) -> Any:
    """A published model as a ready pipeline of stock diffusers.

    Args:
        repo_id: owner/name.
        revision: tag, branch or commit; the newest without.
        token: see `memshield.network.Token`.
        base: where the base of a LoRA is, if its publisher withheld it.
        options: of `from_pretrained`, such as torch_dtype.

    Raises:
        UserErrors: a check failed, naming what is wrong; nothing was loaded.
        UserError: it cannot be read.
    """
    folder, manifest = fetch(repo_id, revision, token=token)
    return open_fetched(repo_id, folder, manifest, token=token, base=base, **options)


def open_fetched(
    repo_id: str,
    folder: Path,
    manifest: Manifest,
    *,
    token: Token = None,
    base: str | None = None,
    **options: Any,
) -> Any:
    """Open what `fetch` has fetched as a pipeline of stock diffusers.

    Args:
        repo_id: for messages.
        folder, manifest: as `fetch` gave them.
        token, base, options: as of `pull`.

    Raises:
        UserError: the base of a LoRA was withheld, or cannot be read.
    """
    from memshield.families.pipelines import open_pipeline

    if manifest.training.kind == "full":
        return open_pipeline(folder, None, **options)
    vae = _fetch_vae(repo_id, manifest, token)
    recorded = manifest.base
    if base is not None:
        api_token = api_for(token).token or False
        # Whoever withheld the base knows which of its weights they trained on.
        known = {"variant": recorded.variant} if recorded and recorded.name is None else {}
        with asking("base", base, "model", None, api_token):
            return open_pipeline(folder, base, vae, **{"token": api_token, **known, **options})
    if recorded is None or recorded.name is None:
        raise UserError(
            "base", f"{repo_id} is a LoRA, and its base was withheld", "Say where the base is."
        )
    fetched = _fetch_base(recorded.name, recorded.revision, recorded.variant, token)
    return open_pipeline(folder, fetched, vae, **{"variant": recorded.variant, **options})


def _fetch_base(name: str, revision: str | None, variant: str | None, token: Token) -> str:
    """The local folder of a base that a manifest names.

    It was asked for by whoever published the LoRA, so it is one of the Hub: a folder of that name
    that lies here is never opened.
    """
    from diffusers import DiffusionPipeline

    api_token = api_for(token).token or False
    with asking("base", name, "model", revision, api_token):
        return str(
            DiffusionPipeline.download(
                name, revision=revision, variant=variant, token=api_token, use_safetensors=True
            )
        )


def _fetch_vae(repo_id: str, manifest: Manifest, token: Token) -> str | None:
    """The local folder of the VAE that a LoRA was trained with; None for its base's own."""
    if manifest.vae is None:
        return None
    name = manifest.vae.name
    if name is None:
        log.warning(
            "%s was trained and audited with another VAE than its base's, which was withheld: "
            "the base's own is used.", repo_id,
        )  # fmt: skip
        return None
    api_token = api_for(token).token or False
    with asking("vae", name, "model", None, api_token):
        files = ["config.json", "diffusion_pytorch_model*.safetensors*"]
        return snapshot_download(name, token=api_token, allow_patterns=files)


def fetch(
    repo_id: str, revision: str | None = None, *, token: Token = None, folder: Path | None = None
) -> tuple[Path, Manifest]:
    """Download a published model and check every byte of it.

    Args:
        repo_id, revision, token: as of `pull`.
        folder: to put it into; the Hub's cache without.

    Returns:
        Where it is, and what is claimed of it.

    Raises:
        UserErrors: a check failed.
        UserError: it cannot be read, or the folder is not empty.
    """
    repo_id = require_id(repo_id, "model", "repo_id")
    if folder is not None and folder.exists() and any(folder.iterdir()):
        raise UserError("output_dir", f"{folder} is not empty", "Name a new folder.")
    api = api_for(token)
    holding, commit = on_hub(api, repo_id, revision)
    # Names and claims first: weights of what will not be used are not fetched.
    require_good(repo_id, verify(holding))
    manifest = read_manifest(holding)
    with asking("repo_id", repo_id, "model", revision, api.token):
        local = Path(
            snapshot_download(
                repo_id,
                revision=commit,
                token=api.token,
                local_dir=folder,
                allow_patterns=[*manifest.files, CARD, NAME],
            )
        )
    checks = verify(in_folder(local, [*manifest.files, CARD, NAME]))
    require_good(repo_id, checks)
    for check in checks:
        for line in check.unchecked:
            log.warning("%s: not checked whether %s: %s", repo_id, check.what, plain(line))
    return local, manifest


def require_good(repo_id: str, checks: list[Check]) -> None:
    """Refuse a model that fails a check.

    Raises:
        UserErrors: naming every problem.
    """
    errors = [
        UserError("repo_id", f"{repo_id}: {plain(problem)}", "Do not use it; ask its owner.")
        for check in checks
        for problem in check.problems
    ]
    if errors:
        raise UserErrors(errors)


def main(argv: Sequence[str]) -> int:
    """Fetch a published model and check it."""
    parser = reading_parser("pull", "Fetch a published model, check it, and say how to load it.")
    parser.add_argument("--output_dir", metavar="DIR", help="where to put it; the cache without")
    own = given(parser, argv)
    folder = expanded(own["output_dir"]) if own["output_dir"] else None
    repo_id = require_id(own["repo_id"], "model", "repo_id")
    local, manifest = fetch(repo_id, own["revision"], folder=folder)
    print(f"Every file has the hash that {NAME} gives.\n{_summary(manifest)}\n{local}")
    words = [f'"{repo_id}"']
    if own["revision"]:
        words.append(f'revision="{own["revision"]}"')
    if manifest.lacks_base:
        words.append('base="where its base is"')
    print("Load it with:\n  from memshield.hub.pull import pull")
    print(f"  pipeline = pull({', '.join(words)})")
    return 0


def _summary(manifest: Manifest) -> str:
    if manifest.audit is None:
        return "It was not audited."
    return lines_of(manifest.audit, manifest.beside.get("base"))
