"""Turn pydantic models into commands: a YAML file, `--key value`, wandb's `--key=value`, help from docstrings."""

from __future__ import annotations

import argparse
import difflib
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from jsonargparse import ArgumentParser, DefaultHelpFormatter, set_parsing_settings
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from commandline.errors import InputError
from commandline.settings import expected, flat_fields, normalise

INTERRUPTED = 130
BROKEN_PIPE = 141


class Config(BaseModel):
    """A command's settings: frozen, and an unknown key is an error. A field's docstring is its help."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _split_names(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return None if value == "null" else [name.strip() for name in value.split(",") if name.strip()]


Names = Annotated[str | list[str] | None, BeforeValidator(_split_names)]
"""Names given as `a,b` on a command line or as a list in YAML; a list, or None, once validated."""


@dataclass(frozen=True)
class Command:
    """One command of a package: its settings and the function that takes them."""

    config: type[Config]
    run: Callable[[Any], int | None]
    positional: str | None = None
    """The field that may be given as the first bare word (`python -m probing STORE`)."""
    after_interrupt: str = "nothing was changed"
    """What is true after a Ctrl-C."""


class _Help(DefaultHelpFormatter):
    """Each setting's docstring and default, without Python's names for its type."""

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        if action.required:
            return f"{text} (required)"
        shown = action.option_strings and action.default not in (None, argparse.SUPPRESS) and action.dest != "help"
        return f"{text} (default: %(default)s)" if shown else text


def parse(prog: str, command: Command, argv: Sequence[str], epilog: str | None = None) -> Config:
    """The command's configuration from `argv`. Raises InputError, naming the setting and what it takes.

    `--help` and `--print_config` print and exit, as argparse does.
    """
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = ArgumentParser(
        prog=prog, description=command.config.__doc__, epilog=epilog, exit_on_error=False, formatter_class=_Help
    )
    parser.add_argument("--config", action="config", help="A YAML file with these settings; flags after it win.")
    parser.add_class_arguments(command.config, None, as_group=False)
    fields = dict(flat_fields(command.config))
    words = list(argv)
    if command.positional and words and not words[0].startswith("-"):
        words[0] = f"--{command.positional}={words[0]}"
    words = normalise(words, fields)
    try:
        namespace = parser.parse_args(words)
    except argparse.ArgumentError as error:
        raise InputError(f"{_plain(str(error), fields, words)} (see {prog} --help)") from error
    settings = namespace.as_dict()
    settings.pop("config", None)
    try:
        return command.config.model_validate(settings)
    except ValidationError as error:
        problems = [_problem(".".join(map(str, problem["loc"])), problem, fields) for problem in error.errors()]
        raise InputError(f"{'; '.join(problems)} (see {prog} --help)") from error


def main(
    prog: str, commands: Mapping[str, Command], default: str | None = None, argv: Sequence[str] | None = None
) -> int:
    """Run the command named by the first argument (or `default`) and return its exit status.

    `InputError` becomes one line on stderr and status 2; Ctrl-C becomes status 130.
    """
    for library in ("TRANSFORMERS_VERBOSITY", "HF_HUB_VERBOSITY"):  # read when imported; a user's own choice wins
        os.environ.setdefault(library, "error")
    args = list(sys.argv[1:] if argv is None else argv)
    name = args.pop(0) if args and args[0] in commands else default
    if name is None or (args and not args[0].startswith("-") and not commands[name].positional):
        return _which(prog, commands, args)
    others = [f"{prog} {other}" for other in commands if other not in (name, default)]
    epilog = f"Also: {', '.join(others)}" if others else None
    try:
        config = parse(prog if name == default else f"{prog} {name}", commands[name], args, epilog)
        status = commands[name].run(config) or 0
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # The reader (`| head`) has gone; without this the interpreter complains once more as it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"interrupted; {commands[name].after_interrupt}", file=sys.stderr)
        return INTERRUPTED


def _which(prog: str, commands: Mapping[str, Command], args: Sequence[str]) -> int:
    """Name the commands: as an answer to `--help`, else as an error."""
    width = max(map(len, commands))
    lines = [f"  {prog} {name:{width}}  {_summary(command)}" for name, command in commands.items()]
    if args[:1] in (["-h"], ["--help"]):
        print("\n".join([f"usage: {prog} COMMAND ...", *lines]))
        return 0
    problem = f"no command {args[0]!r}{_near(args[0], commands)}" if args else "name a command"
    print("\n".join([f"error: {problem}; there are:", *lines]), file=sys.stderr)
    return 2


def _summary(command: Command) -> str:
    return (command.config.__doc__ or "").strip().splitlines()[0]


def _plain(message: str, fields: Mapping[str, FieldInfo], words: Sequence[str]) -> str:
    """jsonargparse's message in one sentence that a user can act on."""
    if found := re.search(r"[Uu]nrecognized arguments: (.+)", message):
        name = found[1].split()[0].partition("=")[0].lstrip("-")
        return f"there is no option --{name}{_near(name, fields, '--')}"
    if found := re.search(r"(?:Key|Option|Subcommand) '([\w.]+)' is not (?:expected|accepted)", message):
        return f"{_files(words)}there is no setting {found[1]!r}{_near(found[1], fields)}"
    if found := re.search(r"arguments are required: (.+)", message):
        return f"--{found[1].replace(', ', ' and --')} is required"
    if found := re.search(r"argument (--[\w.]+): expected one argument", message):
        return f"{found[1]} needs a value: {expected(fields[found[1].lstrip('-')])}"
    if (found := re.search(r'[Pp]arser key "([\w.]+)"', message)) and found[1] in fields:
        given = [word.partition("=")[2] for word in words if word.startswith(f"--{found[1]}=")]
        where = f"--{found[1]}: {given[-1].strip('[]')!r} is not" if given else f"{_files(words)}{found[1]}: should be"
        return f"{where} {expected(fields[found[1]])}"
    if "File does not exist" in message:
        return f"{_files(words)}no such file"
    return f"{_files(words)}{' '.join(message.split())}"


def _problem(name: str, problem: Any, fields: Mapping[str, FieldInfo]) -> str:
    setting = next((known for known in fields if name == known or name.startswith(f"{known}.")), None)
    if setting is None or problem["type"] == "value_error":
        return f"--{name}: {problem['msg'].removeprefix('Value error, ')}"
    return f"--{setting}: {str(problem['input'])!r} is not {expected(fields[setting])}"


def _files(words: Sequence[str]) -> str:
    files = [
        word.partition("=")[2] or follows
        for word, follows in zip(words, [*words[1:], ""], strict=True)
        if word.partition("=")[0] == "--config"
    ]
    return f"{', '.join(files)}: " if files else ""


def _near(name: str, known: Mapping[str, Any], before: str = "") -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {before}{near[0]}?" if near else ""
