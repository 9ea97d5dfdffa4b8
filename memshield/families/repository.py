"""Looking into a model repository, on the Hub or in a folder, before any weight is fetched."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from dataclasses import field as attribute
from pathlib import Path
from typing import Any

from httpx2 import TransportError
from huggingface_hub import HfApi, ModelInfo, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
)

from memshield.errors import UserError
from memshield.families.kinds import WITHOUT_WEIGHTS
from memshield.network import Token, asking, gated, words_of
from memshield.paths import expanded

PIPELINE = "a diffusers pipeline"
PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
_SETTINGS = (".json", ".txt", "chat_template.jinja")
"""Ends of the names of a component's configuration and vocabulary."""
LARGEST_JSON = 16 * 2**20
"""Bytes. Configurations take kilobytes; whoever describes a stranger's repository fetches them."""


@dataclass(frozen=True)
class Repository:
    """A model repository whose weights have not been read yet.

    Attributes:
        field: the setting that named it, for messages.
        name: Hub id or folder.
        revision: commit on the Hub; None for a folder (or an offline cache).
        folder: the folder, where it is one.
        files: size in bytes of every file by its path inside; sizes are 0 where unknown.
        kind: what it should be, for messages.
        token: the Hub is asked with; see `memshield.network.Token`.
        info: as the Hub describes it; None for a folder (or an offline cache).
    """

    field: str
    name: str
    revision: str | None
    folder: Path | None
    files: dict[str, int]
    kind: str = PIPELINE
    token: Token = attribute(default=None, repr=False, compare=False)
    info: ModelInfo | None = attribute(default=None, repr=False, compare=False)

    @classmethod
    def open(
        cls,
        field: str,
        name: str,
        revision: str | None = None,
        kind: str = PIPELINE,
        token: Token = None,
    ) -> Repository:
        """Look a repository up, here or on the Hub.

        Args:
            field: the setting that names it.
            name: Hub id or folder; a folder comes first.
            revision: branch, tag or commit on the Hub.
            kind: what it should be, for messages.
            token: see `memshield.network.Token`.

        Raises:
            UserError: it does not exist, cannot be read with this token, or is a pickle.
        """
        path = expanded(name)
        if path.suffix in PICKLES:
            raise UserError(
                field,
                f"{name} is a pickled checkpoint, which can run code when it is read",
                f"Convert it to {kind} with safetensors weights first.",
            )
        if path.is_dir():
            files = {
                file.relative_to(path).as_posix(): file.stat().st_size
                for file in path.rglob("*")
                if file.is_file()
            }
            return cls(field, name, None, path, files, kind)
        return replace(_open_on_hub(field, name, revision, token), kind=kind)

    @classmethod
    def from_info(cls, field: str, info: ModelInfo, token: Token = None) -> Repository:
        """A repository that the Hub has described, with the sizes of its files."""
        files = {file.rfilename: file.size or 0 for file in info.siblings or []}
        return cls(field, info.id, info.sha, None, files, token=token, info=info)

    def identity(self) -> list[str]:
        """What changes when the weights do: name and commit, or the files' sizes and times."""
        if self.folder is None:
            return [self.name, str(self.revision)]
        stats = {file: (self.folder / file).stat() for file in sorted(self.files)}
        return [
            str(self.folder.resolve()),
            *(f"{file} {stat.st_size} {stat.st_mtime_ns}" for file, stat in stats.items()),
        ]

    def json(self, file: str) -> dict[str, Any]:
        """A JSON file of the repository.

        Raises:
            UserError: it is missing, not a JSON object, or too large to be a configuration.
        """
        path = self._small(file)
        try:
            return dict(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError, RecursionError):
            raise UserError(self.field, f"{self.name}/{file} is not valid JSON", "") from None

    def text(self, file: str) -> str:
        """A text file of the repository; what is no UTF-8 is replaced.

        Raises:
            UserError: it is missing, or too large.
        """
        return self._small(file).read_text(encoding="utf-8", errors="replace")

    def _small(self, file: str) -> Path:
        """A small file on this machine."""
        if self.files and file not in self.files:
            raise self._lacks(file)
        if self.files.get(file, 0) > LARGEST_JSON:
            raise UserError(
                self.field, f"{self.name}/{file} is too large for a file of settings",
                "Take another model, or another revision.",
            )  # fmt: skip
        return self.folder / file if self.folder else self._download(file)

    def _download(self, file: str) -> Path:
        with _downloading(self.field, self.name):
            try:
                return Path(
                    hf_hub_download(self.name, file, revision=self.revision, token=self.token)
                )
            except RemoteEntryNotFoundError:
                raise self._lacks(file) from None

    def _lacks(self, file: str) -> UserError:
        return UserError(self.field, f"{self.name} has no {file}", f"Is it {self.kind}?")

    def require_safetensors(self, component: str, variant: str | None) -> None:
        """Refuse a component whose weights are missing or only there as a pickle.

        Args:
            component: its folder, "" for the repository's root.
            variant: such as fp16.

        Raises:
            UserError: with the reason.
        """
        inside, where = self._inside(component), f"{self.name}/{component}".rstrip("/")
        if not self.files or any(_is_weight(file, variant) for file in inside):
            return
        if any(_is_weight(file, None) for file in inside):
            raise UserError(
                "variant", f"{where} has no weights of the variant {variant!r}",
                "Leave it out, or name one that is there.",
            )  # fmt: skip
        pickled = any(file.endswith(PICKLES) for file in inside)
        raise UserError(
            self.field,
            f"{where} has no safetensors weights"
            + (", only pickled ones, which can run code when they are read" if pickled else ""),
            "Choose a repository or revision with safetensors weights.",
        )

    def variant_in(self, component: str, variant: str | None) -> str | None:
        """The variant; None where a component has no weights of it, as stock diffusers takes it.

        Args:
            component: its folder, "" for the repository's root.
            variant: such as fp16.
        """
        held = any(_is_weight(file, variant) for file in self._inside(component))
        return variant if held or not self.files else None

    def has_part(self, component: str, variant: str | None) -> bool:
        """Whether a component can be saved: with weights, or without where it has none to have."""
        inside, kind = self._inside(component), self.variant_in(component, variant)
        if not self.files or component.startswith(WITHOUT_WEIGHTS):
            return bool(inside) or not self.files
        return any(_is_weight(file, kind) for file in inside)

    def component_files(self, component: str, variant: str | None) -> list[str]:
        """A component's configuration, vocabulary and safetensors weights, other variants left out.

        Of a component that has no weights of the variant, those without one.

        Args:
            component: its folder, "" for the repository's root.
            variant: such as fp16.

        Returns:
            Paths inside the repository; patterns of them where its files are not known.
        """
        folder = f"{component}/" if component else ""
        if not self.files:
            weights = f"*.{variant}*.safetensors" if variant else "*.safetensors"
            return [*(f"{folder}*{end}" for end in _SETTINGS), f"{folder}{weights}"]
        variant = self.variant_in(component, variant)
        return [
            folder + file
            for file in self._inside(component)
            if file.endswith(_SETTINGS) or _is_weight(file, variant)
        ]

    def _inside(self, component: str) -> list[str]:
        """Names of the files that lie directly in a component's folder."""
        folder = f"{component}/" if component else ""
        names = [file.removeprefix(folder) for file in self.files if file.startswith(folder)]
        return sorted(name for name in names if "/" not in name)

    def fetch(self, patterns: Iterable[str]) -> Path:
        """A local folder with the files that match; downloads what is not cached yet.

        Raises:
            UserError: they cannot be had.
        """
        if self.folder is not None:
            return self.folder
        with _downloading(self.field, self.name):
            return Path(
                snapshot_download(
                    self.name,
                    revision=self.revision,
                    allow_patterns=list(patterns),
                    token=self.token,
                )
            )


def _is_weight(file: str, variant: str | None) -> bool:
    """Whether diffusers or transformers would load this file, which may be one part of several."""
    infix = re.escape(f".{variant}") if variant else ""
    part = r"(-\d+-of-\d+)?"
    # Parts of a variant are named in two ways, by age.
    pattern = rf"(diffusion_pytorch_)?model({infix}{part}|{part}{infix})\.safetensors"
    return re.fullmatch(pattern, file) is not None


@contextmanager
def _downloading(field: str, name: str) -> Iterator[None]:
    try:
        yield
    except GatedRepoError:
        # Looking a gated repository up is open to all; only its files are not.
        raise gated(field, name) from None
    except LocalEntryNotFoundError:
        raise UserError(
            field,
            f"{name} is not in the cache, and the Hub cannot be asked",
            "Check the network, and HF_HUB_OFFLINE.",
            "Check the network.",
        ) from None
    except HfHubHTTPError as error:
        raise UserError(field, f"the Hub refused {name}: {words_of(error)}") from None
    except (TransportError, ConnectionError) as error:
        # Not every OSError: a full disk is no fault of the Hub's.
        raise UserError(
            field, f"{name} was cut off ({type(error).__name__})", "Check the network."
        ) from None


def _open_on_hub(field: str, name: str, revision: str | None, token: Token) -> Repository:
    with asking(field, name, "model", revision, token):
        try:
            info = HfApi().model_info(name, revision=revision, files_metadata=True, token=token)
            if info.gated:
                # The client hands a file of a known commit out of its cache without asking,
                # whoever it was that downloaded it.
                HfApi().auth_check(name, token=token)
        except OfflineModeIsEnabled:
            return Repository(field, name, revision, None, {}, token=token)
    # Under the name that was asked for: a repository that was renamed answers to both.
    return replace(Repository.from_info(field, info, token), name=name)
