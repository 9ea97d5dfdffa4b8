"""The allow-list of files in a published repository."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from memshield.digests import LORA
from memshield.families.lora_export import file_name
from memshield.families.lora_names import FORMATS
from memshield.hub.manifest import NAME

CARD = "README.md"
EVIDENCE = "audit"
REPOSITORY_FILES = frozenset({".gitattributes"})
"""Made by the Hub itself."""

_PART = r"[a-z][a-z0-9_]*"
_WEIGHTS = r"(diffusion_pytorch_)?model(-\d{5}-of-\d{5})?\.safetensors"
_INDEX = r"(diffusion_pytorch_)?model\.safetensors\.index\.json"
_SETTINGS = r"(config|generation_config|scheduler_config|preprocessor_config)\.json"
_TOKENIZER = (
    r"(vocab|tokenizer|tokenizer_config|special_tokens_map|added_tokens)\.json|merges\.txt"
    r"|chat_template\.jinja"
)
_MODEL = re.compile(
    rf"{re.escape(LORA)}|model_index\.json|{_PART}/({_WEIGHTS}|{_INDEX}|{_SETTINGS}|{_TOKENIZER})"
)
EXPORTED = {file_name(format): format for format in FORMATS}
"""A LoRA for other tools, and for which, by its file."""
_OTHERS = re.compile(
    rf"{'|'.join(map(re.escape, EXPORTED))}|"
    rf"{re.escape(CARD)}|{re.escape(NAME)}|{EVIDENCE}/report\.(json|html)|samples/\d+\.png"
)


def is_model_file(path: str) -> bool:
    """Whether a file of a saved model is one that stock diffusers reads."""
    return _MODEL.fullmatch(path) is not None


def is_inside(path: str) -> bool:
    """Whether a file's path, as a repository names it, stays inside a folder."""
    parts = PurePosixPath(path).parts
    plain = path == PurePosixPath(path).as_posix() and "\\" not in path and "\0" not in path
    return bool(parts) and plain and not path.startswith("/") and ".." not in parts


def is_allowed(path: str) -> bool:
    """Whether a file may be in a published repository."""
    return is_model_file(path) or _OTHERS.fullmatch(path) is not None
