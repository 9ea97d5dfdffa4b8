"""Feature spaces by name: what pictures are compared in, beside their pixels.

A feature space is a function from pictures to rows. To add one: an entry in `NAMED`, or a class
with the same two members as `HubFeatures`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from memshield.audit.team import Team
from memshield.errors import UserError
from memshield.families.repository import Repository

Rows = npt.NDArray[np.float32]
_BATCH = 64
_FITTED, _COMPONENTS, _SMALL = 10_000, 64, 32


class FeatureSpace(Protocol):
    """A feature space.

    Attributes:
        name: with the revision of its weights, as it stands in the report.
    """

    name: str

    def __call__(self, pictures: Tensor) -> Tensor:
        """Rows [B, D] of pictures [B, C, H, W] uint8."""


class PrincipalComponents:
    """Pixels, in the directions in which training pictures differ most: needs no weights.

    Pictures are scaled down to 32 px at most. A model that has learned what its pictures look
    like is close in this space; whether a person would call them alike, it cannot say.

    Args:
        training: [N, C, H, W] uint8, anything that can be sliced; 10,000 of them are used.
    """

    def __init__(self, training: Any) -> None:
        from sklearn.decomposition import PCA  # a second, which most commands need not wait

        count = training.shape[0]
        places = np.unique(np.linspace(0, count - 1, min(count, _FITTED)).astype(np.int64))
        parts = np.array_split(places, -(-len(places) // _BATCH))
        rows = np.concatenate([_small(_at(training, part)) for part in parts])
        kept = min(_COMPONENTS, len(rows) - 1, rows.shape[1])
        self._components = PCA(kept, svd_solver="randomized", random_state=0).fit(rows)
        self.name = f"pixels, {kept} principal components"

    def __call__(self, pictures: Tensor) -> Tensor:
        """Rows [B, D] of pictures [B, C, H, W] uint8."""
        rows = self._components.transform(_small(pictures.numpy()))
        return torch.from_numpy(rows.astype(np.float32))


def _at(pictures: Any, places: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    return np.concatenate([np.asarray(pictures[i : i + 1]) for i in places.tolist()])


def _small(pictures: npt.NDArray[np.uint8]) -> Rows:
    values = torch.from_numpy(np.ascontiguousarray(pictures)).float() / 255
    if max(values.shape[2:]) > _SMALL:
        values = functional.interpolate(values, size=(_SMALL, _SMALL), mode="area")
    rows: Rows = values.flatten(1).numpy()
    return rows


class HubWeights(NamedTuple):
    """Weights on the Hub.

    Attributes:
        repository: Hub id.
        what: in words, for the report.
    """

    repository: str
    what: str


NAMED = {
    "dinov2": HubWeights("facebook/dinov2-base", "DINOv2 (Oquab et al. 2023), class token"),
    "clip": HubWeights(
        "openai/clip-vit-large-patch14", "CLIP (Radford et al. 2021), picture tower"
    ),
}


class HubFeatures:
    """A vision model of transformers: DINOv2's class token, or CLIP's projected embedding.

    Args:
        repository: a Hub id or folder with safetensors weights.
        device: to run on.

    Raises:
        UserError: it cannot be had, is a pickle, or is of another kind.
    """

    def __init__(self, repository: str, device: torch.device) -> None:
        model = Repository.open("features", repository, kind="a vision model of transformers")
        config = model.json("config.json")
        preparation = model.json("preprocessor_config.json")
        model.require_safetensors("", None)
        folder = model.fetch(["config.json", "preprocessor_config.json", "*.safetensors"])
        self.name = _name_of(model)
        self._clip = config.get("model_type") == "clip"
        self._network = _load(folder, str(config.get("model_type"))).eval().to(device)
        self._device = device
        self._prepare = _Preparation(preparation)

    @torch.no_grad()
    def __call__(self, pictures: Tensor) -> Tensor:
        """Rows [B, D] of pictures [B, 3, H, W] uint8."""
        output = self._network(pixel_values=self._prepare(pictures.to(self._device)))
        rows: Tensor = output.image_embeds if self._clip else output.last_hidden_state[:, 0]
        return rows.float()


def _load(folder: Path, kind: str) -> Any:
    import transformers

    classes = {"dinov2": "Dinov2Model", "clip": "CLIPVisionModelWithProjection"}
    if kind not in classes:
        raise UserError(
            "features",
            f"a model of type {kind!r} gives no features here",
            f"Supported types: {', '.join(classes)}.",
        )
    return getattr(transformers, classes[kind]).from_pretrained(folder, use_safetensors=True)


class ScriptedFeatures:
    """SSCD (Pizzi et al. 2022) from its published TorchScript file.

    Such a file is a program: it is run only where the user names it together with its sha256.

    Args:
        file: path of the TorchScript.
        sha256: its digest in hexadecimal.
        device: to run on.

    Raises:
        UserError: no such file, or another digest.
    """

    def __init__(self, file: Path, sha256: str, device: torch.device) -> None:
        if not file.is_file():
            raise UserError("sscd", f"there is no file {file}", "Download it from its authors.")
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        if digest != sha256.lower():
            raise UserError(
                "sscd_sha256",
                f"{file.name} has the digest {digest}",
                "Check where it came from: the file is a program that would be run.",
            )
        self.name = f"SSCD {file.name}@{digest[:8]}"
        self._network = torch.jit.load(str(file), map_location=device).eval()
        self._device = device
        mean, deviation = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
        self._prepare = _Preparation(
            {
                "size": {"shortest_edge": 256},
                "crop_size": {"height": 224, "width": 224},
                "image_mean": mean,
                "image_std": deviation,
            }
        )

    @torch.no_grad()
    def __call__(self, pictures: Tensor) -> Tensor:
        """Unit rows [B, D] of pictures [B, 3, H, W] uint8."""
        rows: Tensor = self._network(self._prepare(pictures.to(self._device)))
        return functional.normalize(rows.float(), dim=1)


class _Preparation:
    """Scale, crop the centre, normalise: what a model's preprocessor_config.json says."""

    def __init__(self, settings: dict[str, Any]) -> None:
        size = settings.get("size", 224)
        if isinstance(size, dict):
            size = size.get("shortest_edge") or size["height"]
        crop = settings.get("crop_size", size) if settings.get("do_center_crop", True) else size
        self._size = int(size)
        self._crop = int(crop["height"] if isinstance(crop, dict) else crop)
        self._mean = torch.tensor(settings["image_mean"])[:, None, None]
        self._deviation = torch.tensor(settings["image_std"])[:, None, None]

    def __call__(self, pictures: Tensor) -> Tensor:
        values = pictures.float() / 255
        if values.shape[1] == 1:
            values = values.expand(-1, 3, -1, -1)
        scale = self._size / min(values.shape[2:])
        size = [max(self._crop, round(side * scale)) for side in values.shape[2:]]
        values = functional.interpolate(
            values, size=size, mode="bicubic", antialias=True, align_corners=False
        ).clamp(0, 1)
        top, left = ((side - self._crop) // 2 for side in size)
        values = values[:, :, top : top + self._crop, left : left + self._crop]
        return (values - self._mean.to(values.device)) / self._deviation.to(values.device)


class ClipScore:
    """How well pictures show what their prompts say (CLIPScore, Hessel et al., arXiv 2104.08718).

    Args:
        repository: of a CLIP model, a Hub id or folder with safetensors weights.
        device: to run on.

    Raises:
        UserError: it cannot be had, is a pickle, or is no CLIP.
    """

    def __init__(self, repository: str, device: torch.device) -> None:
        from transformers import CLIPModel, CLIPTokenizer

        model = Repository.open("features", repository, kind="a CLIP model")
        if model.json("config.json").get("model_type") != "clip":
            raise UserError("features", f"{repository} is no CLIP model", "")
        model.require_safetensors("", None)
        self._prepare = _Preparation(model.json("preprocessor_config.json"))
        folder = model.fetch(["*.json", "*.txt", "*.safetensors"])
        self._tokenizer = CLIPTokenizer.from_pretrained(folder)
        network: Any = CLIPModel.from_pretrained(folder, use_safetensors=True)
        self._network = network.eval().to(device)
        self._device = device
        self.name = _name_of(model)

    @torch.no_grad()
    def __call__(self, pictures: Tensor, prompts: Sequence[str]) -> Tensor:
        """100 max(cos, 0) [B] of pictures [B, C, H, W] uint8 and their prompts."""
        words = self._tokenizer(
            list(prompts), padding=True, truncation=True, return_tensors="pt"
        ).to(self._device)
        output = self._network(pixel_values=self._prepare(pictures.to(self._device)), **words)
        cosine = functional.cosine_similarity(output.image_embeds, output.text_embeds)
        return 100 * cosine.clamp(min=0).float()


def open_features(name: str, device: torch.device) -> HubFeatures:
    """A feature space by its name in `NAMED`, a Hub id or a folder.

    Raises:
        UserError: its weights cannot be had; the report then says so.
    """
    return HubFeatures(NAMED[name].repository if name in NAMED else name, device)


def _name_of(repository: Repository) -> str:
    """For the report: no local path."""
    if repository.folder is not None:
        return repository.folder.resolve().name
    return f"{repository.name}@{(repository.revision or 'cached')[:8]}"


def rows_of(
    pictures: Any,
    features: FeatureSpace,
    progress: Callable[[int], None] | None = None,
    team: Team | None = None,
) -> Rows:
    """Features of a whole set, in batches.

    Args:
        pictures: [N, C, H, W] uint8, anything that can be sliced.
        features: the space.
        progress: is told how many are done.
        team: of processes that share the batches; all of them call this.

    Returns:
        [N, D] float32.
    """
    team = team or Team()
    starts = range(0, len(pictures), _BATCH)
    rows = []
    for batch in team.own(len(starts)):
        start = starts[batch]
        part = np.ascontiguousarray(pictures[start : start + _BATCH])
        rows.append(features(torch.from_numpy(part)).cpu().numpy())
        if progress is not None:
            progress(min(start + _BATCH, len(pictures)))
    if team.count == 1:
        return np.concatenate(rows)
    parts = team.gather_rows(np.concatenate(rows) if rows else np.empty((0, 0), np.float32))
    whole = np.empty((len(pictures), parts[0].shape[1]), np.float32)
    for rank, found in enumerate(parts):
        place = 0
        for batch in range(rank, len(starts), team.count):
            size = min(_BATCH, len(pictures) - starts[batch])
            whole[starts[batch] : starts[batch] + size] = found[place : place + size]
            place += size
    return whole


def unit(rows: Rows) -> Rows:
    """Rows of length one."""
    lengths: Rows = np.linalg.norm(rows, axis=1, keepdims=True).clip(min=1e-12)
    return rows / lengths
