"""The configurations, splits and files that the datasets library would load of a repository.

The library's own rules are asked, but nothing of it that reads data: its streaming patches
modules with one token for the whole process, and a page serves visitors with tokens of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from zipfile import BadZipFile

from huggingface_hub.errors import HfHubHTTPError

from memshield.data.source import refuse_script
from memshield.errors import UserError
from memshield.hub.catalog.access import FIELDS
from memshield.hub.catalog.outside_files import require_own_files
from memshield.hub.catalog.remote import RemoteFiles

if TYPE_CHECKING:
    import datasets

FIELD = FIELDS["dataset"]


@dataclass(frozen=True)
class DataFiles:
    """The files of one configuration.

    Attributes:
        configs: names of all configurations.
        config: the chosen one.
        format: how the datasets library reads it, such as parquet or imagefolder.
        splits: paths inside the repository, by split.
        features: types of the columns that the card declares; None where it does not.
        rows: number by split that the card declares; those of other splits are unknown.
        drop_labels, drop_metadata: what the card says of picture folders; None for nothing.
    """

    configs: tuple[str, ...]
    config: str
    format: str
    splits: dict[str, tuple[str, ...]]
    features: datasets.Features | None
    rows: dict[str, int]
    drop_labels: bool | None
    drop_metadata: bool | None


def find_data_files(remote: RemoteFiles, config: str | None) -> DataFiles:
    """Look up what would be loaded. Only the card is fetched.

    Args:
        remote: the repository, which this token may read.
        config: name of the configuration; None for the default one, or else the first.

    Raises:
        UserError: a loading script, no data files, files outside the repository, an unknown
            configuration, a card that cannot be read.
        OSError: the Hub's own refusals, and no answer.
    """
    refuse_script(FIELD, remote.id, remote.sizes)
    require_own_files(remote)
    return _ask_library(remote, config)


def _ask_library(remote: RemoteFiles, config: str | None) -> DataFiles:
    import datasets
    from datasets.load import dataset_module_factory

    download = datasets.DownloadConfig(token=remote.token)
    try:
        module = dataset_module_factory(
            remote.root.partition("@")[0], revision=remote.sha, download_config=download
        )
        parameters, infos = module.builder_configs_parameters, module.dataset_infos or {}
        choices = {one.name: one for one in parameters.builder_configs or ()}
        name = _choose(remote, list(choices), config, parameters.default_config_name)
        chosen = choices[name]
        # It resolves the patterns of a card's configuration; there is no public way to.
        chosen._resolve_data_files(module.builder_kwargs["base_path"], download)
    except (UserError, HfHubHTTPError):
        raise
    # The library lets through whatever a strange card makes Python raise.
    except (
        FileNotFoundError,
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        BadZipFile,
    ) as error:
        raise unreadable(f"{remote.id} cannot be opened", error) from None
    info = infos.get(name)
    if info is None and len(infos) == len(choices) == 1:
        info = next(iter(infos.values()))
    splits = {
        str(split): tuple(_own(file, remote) for file in files)
        for split, files in (chosen.data_files or {}).items()
    }
    form = module.module_path.rpartition(".")[2]
    features = getattr(chosen, "features", None) or (info.features if info else None)
    counts = {} if info is None or info.splits is None else info.splits
    return DataFiles(
        configs=tuple(choices),
        config=name,
        format=form,
        splits=splits,
        # Training reads shards by what is in them.
        features=None if form == "webdataset" else features,
        rows={str(split): one.num_examples for split, one in counts.items() if one.num_examples},
        drop_labels=getattr(chosen, "drop_labels", None),
        drop_metadata=getattr(chosen, "drop_metadata", None),
    )


def _choose(remote: RemoteFiles, names: list[str], wanted: str | None, default: str | None) -> str:
    if not names:
        # The library falls back to what an earlier download left on this machine.
        raise UserError(FIELD, f"{remote.id} cannot be looked into", "Try again.")
    if wanted is None:
        return default if default in names else names[0]
    if wanted not in names:
        raise UserError(
            "dataset_config_name",
            f"{remote.id} has no configuration {wanted!r}",
            f"It has: {', '.join(names)}.",
        )
    return wanted


def _own(file: str, remote: RemoteFiles) -> str:
    path = file.removeprefix(remote.root)
    if path == file or path not in remote.sizes:
        raise UserError(FIELD, f"{remote.id} takes data from elsewhere ({file})", "")
    return path


def unreadable(what: str, error: Exception) -> UserError:
    """The error for data that exists but cannot be read, with the library's message."""
    words = " ".join(str(error).split())[:300]
    return UserError(FIELD, f"{what}: {words}", "Choose another dataset or revision.")
