"""The command line of the config schema: one flag a setting, help in groups. Imports no torch."""

from __future__ import annotations

import argparse
import types
import typing
from collections.abc import Sequence
from typing import Any, Literal, NoReturn

from pydantic.fields import FieldInfo

from memshield.config.file import (
    GROUPS,
    ONE_OF,
    Config,
    fields,
    make_config,
    read_yaml,
    unknown_setting,
)
from memshield.config.schema import Settings
from memshield.config.shipped import find_shipped
from memshield.errors import UserError, UserErrors


class _Parser(argparse.ArgumentParser):
    """argparse, with its errors raised so that they read like all the others."""

    def error(self, message: str) -> NoReturn:
        raise UserError("command line", message, f"See `{self.prog} --help`.")


def plain_parser(prog: str, description: str) -> argparse.ArgumentParser:
    """A parser of a command that takes no settings; what it refuses is a `UserError`."""
    return _Parser(
        prog=prog, description=description, allow_abbrev=False, formatter_class=_formatter
    )


def parse_config(prog: str, argv: Sequence[str], description: str) -> Config:
    """A validated config from `--config FILE` and flags; flags win.

    Raises:
        UserErrors: every unknown name and broken rule.
        SystemExit: after `--help`.
    """
    return make_config(merged(given(config_parser(prog, description), argv)))


def given(parser: argparse.ArgumentParser, argv: Sequence[str]) -> dict[str, Any]:
    """What a command line gives, by the names of the flags; nothing for those left out.

    Raises:
        UserError: it holds flags or words that the parser does not know.
        SystemExit: after `--help`.
    """
    known, rest = parser.parse_known_args(list(argv))
    unknown = [unknown_setting(word.lstrip("-").split("=")[0]) for word in rest if word[:1] == "-"]
    if unknown:
        raise UserErrors(unknown)
    if rest:
        raise UserError(
            "command line", f"unexpected {rest[0]!r}", "Settings are given as --name value."
        )
    return {n: None if v in (["none"], ["null"]) else v for n, v in vars(known).items()}


def merged(given: dict[str, Any]) -> dict[str, Any]:
    """The settings of the file that `config` names, and over them those of the flags.

    A flag of two settings that exclude each other takes the place of the other, too.
    """
    values = read_yaml(find_shipped(given["config"])) if given.get("config") else {}
    if "validation_prompts" in given:
        values.pop("validation_prompt", None)
    for first, second, _ in ONE_OF.values():
        named = [name for name in (first, second) if given.get(name) is not None]
        if len(named) == 1:
            values.pop(second if named == [first] else first, None)
    return {**values, **{name: value for name, value in given.items() if name != "config"}}


def config_parser(
    prog: str,
    description: str,
    groups: Sequence[type[Settings]] = GROUPS,
    usage: str = "[--config FILE] [--name value ...]",
) -> argparse.ArgumentParser:
    """A parser with a flag for every setting; what is not given is absent from its result."""
    parser = _Parser(
        prog=prog,
        usage=f"{prog} {usage}",
        description=description,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
        formatter_class=_formatter,
    )
    parser.add_argument(
        "--config", metavar="FILE", help="YAML file of settings; flags win over it."
    )
    for group in groups:
        section = parser.add_argument_group(group.__doc__)
        for name in group.model_fields:
            _add_flag(section, name, fields()[name])
    return parser


def _formatter(prog: str) -> argparse.HelpFormatter:
    return argparse.HelpFormatter(prog, max_help_position=36, width=100)


def _add_flag(section: argparse._ArgumentGroup, name: str, field: FieldInfo) -> None:
    options = _unwrap_optional(field.annotation)
    # argparse formats help with %, so a literal one is doubled.
    text = f"{field.description} [{_show(field.default)}]".replace("%", "%%")
    names = [f"--{name}"]
    if name == "validation_prompts":
        names.append("--validation_prompt")
    if typing.get_origin(options) is Literal:
        choices = typing.get_args(options)
        # Where "none" is one of the values, only "null" takes the setting back.
        kind = _null_or_text if "none" in choices else _none_or_text
        section.add_argument(*names, dest=name, metavar="|".join(choices), type=kind, help=text)
    elif typing.get_origin(options) is list:
        section.add_argument(*names, dest=name, metavar="TEXT", nargs="+", help=text)
    elif options is bool:
        # Both diffusers' bare flag and an explicit value: --random_flip, --random_flip false.
        section.add_argument(
            *names, dest=name, metavar="true|false", nargs="?", const="true",
            type=_none_or_text, help=text,
        )  # fmt: skip
    else:
        kinds: dict[Any, str] = {int: "N", float: "X", str: "TEXT"}
        section.add_argument(
            *names, dest=name, metavar=kinds[options], type=_none_or_text, help=text
        )


def _unwrap_optional(annotation: Any) -> Any:
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        return next(part for part in typing.get_args(annotation) if part is not type(None))
    return annotation


def _none_or_text(word: str) -> str | None:
    return None if word.lower() in ("none", "null") else word


def _null_or_text(word: str) -> str | None:
    return None if word.lower() == "null" else word


def _show(default: Any) -> str:
    if default is None:
        return "none"
    return str(default).lower() if isinstance(default, bool) else str(default)
