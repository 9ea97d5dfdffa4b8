"""memshield.json: all claims about a published model, as plain values. No torch.

The card is made from it, and from nothing else; `verify` holds both to it.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
)

from memshield.audit.report import Report
from memshield.config.buckets import FIELD, size_in_words
from memshield.digests import LORA, NETWORKS, combined
from memshield.errors import UserError
from memshield.hub.catalog.license import License
from memshield.rundir import write_text

VERSION: Literal[1] = 1
NAME = "memshield.json"
MOST_BESIDE = 7
"""Audits beside the model's: more are no table that anybody reads."""
_METHOD = ("num_shards", "num_rounds", "skip_threshold")
_LARGEST_WHOLE = 2**63


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Base(_Part):
    """The pipeline that was fine-tuned.

    Attributes:
        name: Hub id; None for a local folder, whose name is nobody else's business.
        revision: commit.
        variant: of its weight files, such as fp16.
        gated: whether its files are handed out only to who has accepted conditions.
    """

    name: str | None
    revision: str | None
    variant: str | None = None
    gated: bool = False

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _without_empty(handler(self), "gated")


class Vae(_Part):
    """A VAE that replaced the base's own.

    Attributes:
        name: Hub id; None for a local folder.
        license: as its card states it; None where it is not known.
    """

    name: str | None
    license: License | None = None


class Dataset(_Part):
    """The pictures that were trained on.

    Attributes:
        name, revision: None where they are withheld.
        on_hub: whether the name is an id of the Hub.
        license: as its card states it; None where it is not known or the dataset is withheld.
    """

    name: str | None
    revision: str | None
    on_hub: bool
    license: License | None = None

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _without_empty(handler(self), "license")


class Training(_Part):
    """How it was trained.

    Attributes:
        kind: all weights, or a LoRA.
        resolution: pixels.
        pictures: trained on.
        steps: of the optimizer; None where the round that is the model is not known.
        settings: of the method and the optimizer; no seeds, no paths.
    """

    kind: Literal["full", "lora"]
    resolution: int
    pictures: int
    steps: int | None
    settings: dict[str, Any]

    @property
    def size(self) -> str:
        """The size of the pictures in words."""
        return size_in_words(self.resolution, self.settings.get(FIELD))

    @field_validator("settings")
    @classmethod
    def _says_how(cls, settings: dict[str, Any]) -> dict[str, Any]:
        missing = [name for name in _METHOD if name not in settings]
        if missing:
            raise ValueError(f"lacks {', '.join(missing)}")
        if not all(re.fullmatch(r"[a-z][a-z0-9_]{0,60}", name) for name in settings):
            raise ValueError("has a name that is no setting's")  # the card shows names as they are
        return settings


class Manifest(_Part):
    """All claims about a published model.

    Attributes:
        memshield: version that published it.
        pipeline_class: of diffusers.
        text: whether the model is prompted.
        license: of the base, or as stated; None where it is not known.
        base, vae, dataset, training: see there; base is None for a model from scratch, vae for the
            base's own.
        audit: of these very weights; None where there is none.
        beside: audits of other models on the same pictures, under "base" and "plain".
        gallery: generated pictures that are no near-copies, by path.
        prompts: of those pictures, by path, where their owner wrote them for validation.
        confirmed: warnings that whoever published it confirmed, by name.
        files: SHA-256 of every file but the card and this one, by path.
    """

    version: Literal[1] = VERSION
    memshield: str
    pipeline_class: str
    text: bool
    license: License | None
    base: Base | None
    vae: Vae | None = None
    dataset: Dataset
    training: Training
    audit: Report | None
    beside: dict[str, Report] = Field(default={}, max_length=MOST_BESIDE)
    gallery: tuple[str, ...] = ()
    prompts: dict[str, str] = {}
    confirmed: tuple[str, ...] = ()
    files: dict[str, str] = Field(min_length=1)

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _without_empty(_without_empty(handler(self), "prompts"), "vae")

    @property
    def weights(self) -> str:
        """Digest over the trained weights among `files`; see `digests.weights_sha256`."""
        return combined(
            {
                path: digest
                for path, digest in self.files.items()
                if path == LORA
                or (path.split("/")[0] in NETWORKS and path.endswith(".safetensors"))
            }
        )

    @property
    def lacks_base(self) -> bool:
        """Whether it is a LoRA whose publisher withheld the base."""
        named = self.base is not None and self.base.name is not None
        return self.training.kind == "lora" and not named

    def text_of_file(self) -> str:
        """The file's very text: the same values give the same bytes."""
        values = self.model_dump(mode="json")
        return json.dumps(values, indent=1, sort_keys=True, ensure_ascii=False) + "\n"

    @property
    def tag(self) -> str:
        """The git tag of this publication: another model, or other claims, have another."""
        return f"memshield-{hashlib.sha256(self.text_of_file().encode()).hexdigest()[:12]}"

    def write(self, folder: Path) -> None:
        """Write memshield.json."""
        write_text(folder / NAME, self.text_of_file())

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Read and validate memshield.json.

        Raises:
            UserError: it is missing, of another version, or not valid.
        """
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise UserError(NAME, f"cannot be read: {error.strerror}", "") from None
        except (ValueError, RecursionError):
            raise UserError(NAME, "is not JSON", "") from None
        if isinstance(values, dict) and values.get("version") != VERSION:
            raise UserError(
                NAME,
                f"is of version {values.get('version')!r}, this reads {VERSION}",
                "Install a newer MemShield.",
            )
        try:
            made = cls.model_validate(values)
            _require_plain(values)
            return made
        except RecursionError:
            raise UserError(NAME, "is not valid: it is nested too deeply", "") from None
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise UserError(NAME, f"is not valid: {place}: {first['msg']}", "") from None


def _without_empty(values: dict[str, Any], name: str) -> dict[str, Any]:
    """Values without one that is empty: the file, and its tag, stay as they were before it."""
    return values if values[name] else {key: one for key, one in values.items() if key != name}


def _require_plain(value: Any) -> None:
    """Refuse what cannot be written down again, or shown: others made it.

    Raises:
        UserError: a text is none, or a number is not finite or has too many digits.
    """
    if isinstance(value, dict):
        for name, one in value.items():
            _require_plain(name)
            _require_plain(one)
    elif isinstance(value, list):
        for one in value:
            _require_plain(one)
    elif isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise UserError(NAME, "is not valid: it holds a text that is none", "") from None
    elif isinstance(value, (int, float)) and not (
        abs(value) <= _LARGEST_WHOLE if isinstance(value, int) else math.isfinite(value)
    ):
        raise UserError(NAME, "is not valid: it holds a number that is none", "")
