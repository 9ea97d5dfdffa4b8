"""Fetching a published model, checked, as a ready pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download

from memshield.errors import UserError, UserErrors
from memshield.hub.account import api_for
from memshield.hub.catalog.access import require_id
from memshield.hub.contents import CARD
from memshield.hub.manifest import NAME, Manifest
from memshield.hub.verify import Check, in_folder, on_hub, read_manifest, verify
from memshield.network import Token, asking


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
    from memshield.pipelines import open_pipeline

    folder, manifest = fetch(repo_id, revision, token=token)
    if manifest.training.kind == "full":
        return open_pipeline(folder, None, **options)
    named = base or (manifest.base.name if manifest.base else None)
    if named is None:
        raise UserError(
            "base", f"{repo_id} is a LoRA, and its base was withheld", "Say where the base is."
        )
    recorded = manifest.base if base is None else None
    api_token = api_for(token).token or False
    where: dict[str, Any] = {"token": api_token}
    if recorded is not None:
        where |= {"revision": recorded.revision, "variant": recorded.variant}
    with asking("base", named, "model", where.get("revision"), api_token):
        return open_pipeline(folder, named, **{**where, **options})


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
    require_good(repo_id, verify(in_folder(local, [*manifest.files, CARD, NAME])))
    return local, manifest


def require_good(repo_id: str, checks: list[Check]) -> None:
    """Refuse what a check has failed.

    Raises:
        UserErrors: naming every problem.
    """
    errors = [
        UserError("repo_id", f"{repo_id}: {problem}", "Do not use it; ask its owner.")
        for check in checks
        for problem in check.problems
    ]
    if errors:
        raise UserErrors(errors)
