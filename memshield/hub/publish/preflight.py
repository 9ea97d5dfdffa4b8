"""Checks of a publication and of the disk before a training."""

from __future__ import annotations

import shutil
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.constants import HF_HUB_CACHE
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from memshield import __version__
from memshield.config.file import Config
from memshield.config.schema import BUILT_IN
from memshield.errors import UserError, UserErrors
from memshield.families.kinds import takes_prompts
from memshield.hub.account import account_of, api_for
from memshield.hub.card import require_valid, write_card
from memshield.hub.catalog.access import require_id
from memshield.hub.manifest import Manifest, Training
from memshield.hub.publish.confirmations import license_warnings, require_confirmed
from memshield.hub.publish.destination import FIELD, find_destination
from memshield.hub.publish.sources import Origins, look_up_origins
from memshield.hub.refusals import REFUSALS, of_publishing
from memshield.hub.retries import IMPATIENT, Clock, RetryPolicy, SystemClock
from memshield.hub.session import steady_session
from memshield.network import NO_ANSWER, Token
from memshield.paths import expanded
from memshield.quantities import size

_PICTURES_ARE_COPIED = 2
"""A dataset lies in the Hub's cache as it is, and once more as its library reads it."""


def require_publishable(config: Config, token: Token = None) -> None:
    """Refuse to train for a publication that would fail.

    Raises:
        UserErrors: every problem; those of an audit that is still to be made are no such.
    """
    if config.push_to_hub:
        errors = publishing_errors(config, token, patience=RetryPolicy(attempts=3))
        if errors:
            raise UserErrors(errors)


def publishing_errors(
    config: Config,
    token: Token = None,
    clock: Clock | None = None,
    patience: RetryPolicy = IMPATIENT,
) -> list[UserError]:
    """Problems of publishing a model of this config: token, repository, privacy, license.

    Args:
        config: of the training.
        token: see `memshield.network.Token`.
        clock, patience: for waiting where the Hub is busy; by default somebody waits for this.
    """
    clock = clock or SystemClock()
    with steady_session(silence=patience.silence):
        try:
            return patience.keep_trying(
                lambda: _errors(api_for(token), config), clock, lambda words: None
            )
        except UserError as error:
            return [error]
        except REFUSALS as error:
            return [of_publishing(error, "the same command")]


def _errors(api: HfApi, config: Config) -> list[UserError]:
    errors: list[UserError] = []
    if "/" in (config.hub_model_id or ""):
        try:
            require_id(str(config.hub_model_id), "model", FIELD)
        except UserError as error:
            errors.append(error)  # said whoever asks, and signed out too
    try:
        account = account_of(api)
    except UserError as error:
        return [*errors, error]
    origins = look_up_origins(api, config)
    warned = license_warnings(origins, config.hub_private_repo is False)
    errors += require_confirmed(warned, config.hub_confirm or ())
    if errors and errors[0].field == FIELD:
        return errors
    try:
        find_destination(
            api, account, config.hub_model_id, config.hub_private_repo, origins.private
        )
    except UserError as error:
        errors.append(error)
    try:
        require_valid(write_card(_imagined(config, origins), f"{account.name}/model"))
    except UserError as error:
        errors.append(error)
    return errors


def _imagined(config: Config, origins: Origins) -> Manifest:
    """The manifest, as far as it is known before the training."""
    text = takes_prompts(origins.pipeline_class)
    names = ("num_shards", "num_rounds", "skip_threshold")
    return Manifest(
        memshield=__version__,
        pipeline_class=origins.pipeline_class or "DDPMPipeline",
        text=text,
        license=origins.license,
        base=origins.base,
        vae=origins.vae,
        dataset=origins.dataset,
        training=Training(
            kind=config.training or ("lora" if text else "full"),
            resolution=config.resolution or 0,
            pictures=0,
            steps=0,
            settings={name: getattr(config, name) for name in names},
        ),
        audit=None,
        files={"model_index.json": "0" * 64},
    )


def room_errors(config: Config, token: Token = None) -> list[UserError]:
    """Whether the disk takes a dataset of the Hub; nothing where its size cannot be known."""
    name = config.dataset_name
    if name is None or name == BUILT_IN or expanded(name).exists():
        return []
    if config.dataset_config_name is not None:
        return []  # only its files are fetched, and which these are is known once they are
    try:
        info = api_for(token).dataset_info(
            name, revision=config.dataset_revision, files_metadata=True
        )
    except (HfHubHTTPError, *NO_ANSWER, OfflineModeIsEnabled, ValueError):
        return []  # opening it says what is wrong
    cached = Path(HF_HUB_CACHE) / f"datasets--{name.replace('/', '--')}" / "blobs"
    here = sum(path.stat().st_size for path in cached.glob("*") if path.is_file())
    size = sum(file.size or 0 for file in info.siblings or [])
    needed = max(0, _PICTURES_ARE_COPIED * size - here)
    problem = no_room("dataset_name", f"{name}", needed, Path(HF_HUB_CACHE))
    return [] if problem is None else [problem]


def no_room(field: str, what: str, needed: int, place: Path) -> UserError | None:
    """An error where a disk has not as many bytes free as are needed; else None."""
    there = next(folder for folder in (place, *place.absolute().parents) if folder.exists())
    free = shutil.disk_usage(there).free
    if needed <= free:
        return None
    return UserError(
        field,
        f"{what} needs {size(needed)}, and {size(free)} are free",
        f"Make room, or use another disk (now: {there}).",
    )
