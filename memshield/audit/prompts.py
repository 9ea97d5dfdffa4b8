"""Prompts for generating with a text model: captions of its pictures, or lines of a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from memshield.errors import UserError
from memshield.paths import expanded
from memshield.randomness import Purpose, numpy_generator

KINDS = ("train", "held_out", "perturbed", "validation")
_WORDS_A_CHANGE = 10


def choose_prompts(
    kind: str, captions: Sequence[str], held_out: Sequence[str], count: int, seed: int,
    validation: Sequence[str] = (),
) -> list[str]:  # fmt: skip
    """Choose one prompt for each picture; the same seed gives the same prompts.

    Captions come in an order drawn with the seed, validation prompts and lines of a file as they
    stand there; all begin again where there are fewer than wanted. Empty ones are left out.

    Args:
        kind: "train", captions of training pictures, the worst case; "held_out", those of
            pictures that were kept back; "perturbed", training captions with small changes, see
            `perturb`; "validation", the run's own prompts; or the path of a text file with one
            prompt a line.
        captions: of the training pictures.
        held_out: captions of the pictures that were kept back.
        count: N.
        seed: of the order and of the changes.
        validation: prompts that the run's owner wrote.

    Returns:
        [N] prompts.

    Raises:
        UserError: there is not one prompt.
    """
    if kind not in KINDS:
        prompts = _lines(expanded(kind))
        return [prompts[place % len(prompts)] for place in range(count)]
    if kind == "validation":
        return cycled(validation, count)
    texts = held_out if kind == "held_out" else captions
    prompts = [text.strip() for text in texts if text.strip()]
    if not prompts:
        raise _no_captions(kind, len(texts))
    order = numpy_generator(seed, Purpose.PROMPTS).permutation(len(prompts))
    chosen = [prompts[order[place % len(prompts)]] for place in range(count)]
    if kind != "perturbed":
        return chosen
    vocabulary = sorted({word for prompt in prompts for word in prompt.split()})
    return [
        perturb(prompt, vocabulary, numpy_generator(seed, Purpose.PROMPTS, place))
        for place, prompt in enumerate(chosen)
    ]


def cycled(prompts: Sequence[str], count: int) -> list[str]:
    """[N] of the prompts in their order, again and again.

    Raises:
        UserError: there is none.
    """
    if not prompts:
        raise UserError(
            "validation_prompts", "the run has none", "Train with some, or give a file of prompts."
        )
    return [prompts[place % len(prompts)] for place in range(count)]


def perturb(prompt: str, vocabulary: Sequence[str], generator: np.random.Generator) -> str:
    """A prompt with a word inserted, removed or exchanged, one such change for every ten words.

    Small changes to a caption make copies rarer: Somepalli et al. 2023, "Understanding and
    Mitigating Copying in Diffusion Models" (arXiv 2305.20086), who insert random tokens and
    numbers. Here the words are the set's own.

    Args:
        prompt: of at least one word.
        vocabulary: words to insert.
        generator: draws the changes.
    """
    words = prompt.split()
    for _ in range(-(-len(words) // _WORDS_A_CHANGE)):
        change = generator.choice(["insert", "remove", "exchange"])
        word = str(generator.choice(vocabulary))
        place = int(generator.integers(len(words)))
        if change == "remove" and len(words) > 1:
            del words[place]
        elif change == "exchange" and word != words[place]:
            words[place] = word
        else:
            # Nothing would be left, or nothing would change.
            words.insert(int(generator.integers(len(words) + 1)), word)
    if words == prompt.split():
        # A later change has undone an earlier one.
        words.insert(int(generator.integers(len(words) + 1)), str(generator.choice(vocabulary)))
    return " ".join(words)


def _lines(path: Path) -> list[str]:
    kinds = f"One of {', '.join(KINDS)}, or a text file with one prompt a line."
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError("prompts", f"cannot read {path}: {error.strerror}", kinds) from None
    except UnicodeDecodeError:
        raise UserError("prompts", f"{path} is not UTF-8 text", kinds) from None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise UserError("prompts", f"{path} holds no line", kinds)
    return lines


def _no_captions(kind: str, pictures: int) -> UserError:
    what = "held-out" if kind == "held_out" else "training"
    if pictures:
        return UserError(
            "prompts", f"no {what} picture has a caption", "Give a file with one prompt a line."
        )
    return UserError(
        "prompts",
        f"there are no {what} pictures",
        "Use train or perturbed, train with held_out_fraction, or name some with --held_out.",
    )
