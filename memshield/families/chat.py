"""Captions as messages to a Qwen3, which encodes them for two families."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def as_messages(tokenizer: Any, captions: Sequence[str], *, thinks: bool) -> list[str]:
    """Captions in the tokenizer's template of a chat, as the stock pipelines put them.

    Args:
        tokenizer: with the template.
        captions: each is a message of its own.
        thinks: whether the answer may begin with thoughts, which changes its first tokens.
    """
    return [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": caption}],
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=thinks,
        )
        for caption in captions
    ]
