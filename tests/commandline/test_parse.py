"""Commands: files, flags, wandb's argument forms, help and errors."""

import shlex
import subprocess
import sys
from typing import Annotated, Literal

import pytest
from pydantic import Field

from commandline import Command, Config, InputError, Names, main

Share = Annotated[float, Field(lt=1)]


class Tracking(Config):
    """Where the run is logged."""

    project: str | None = None
    """The project's name."""


class Settings(Config):
    """Do the work."""

    store: str
    """The store to read."""
    limit: int | None = Field(default=None, ge=1)
    """At most this many."""
    levels: Names = None
    """The levels."""
    drop: bool = False
    """Drop the root."""
    pool: Literal["mean", "last"] = "mean"
    """The pool."""
    shares: tuple[Share, Share] = (0.5, 0.5)
    """The shares."""
    wandb: Tracking = Tracking()
    """Tracking."""


def run(argv: list[str]) -> tuple[int, list[Settings]]:
    seen: list[Settings] = []
    return main("python -m work", {"work": Command(Settings, seen.append, "store")}, "work", argv), seen


def test_flags_and_positional_reach_the_function() -> None:
    status, seen = run(["a.zarr", "--limit", "3", "--levels", "order,family", "--wandb.project", "p"])
    assert status == 0
    assert seen == [Settings(store="a.zarr", limit=3, levels=["order", "family"], wandb=Tracking(project="p"))]


@pytest.mark.parametrize("flag", ["--limit=None", "--limit=null", "--levels=None", "--wandb.project=None"])
def test_none_in_wandb_form_is_none(flag: str) -> None:
    assert run(["--store=a", "--drop=True", flag])[1] == [Settings(store="a", drop=True)]


def test_none_inside_a_value_stays() -> None:
    assert run(["--store=Answer=None"])[1][0].store == "Answer=None"


def test_lists_in_wandb_form_parse() -> None:
    assert run(["--store=a", "--levels=['order', 'family']"])[1][0].levels == ["order", "family"]


def test_file_then_flag(tmp_path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("store: a\nlimit: 3\nlevels: [x, y]\n")
    assert run(["--config", str(file), "--limit", "5"])[1] == [Settings(store="a", limit=5, levels=["x", "y"])]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--store=a", "--limt=3"], "there is no option --limt; did you mean --limit?"),
        (["--store=a", "--limit=0"], "--limit: '0' is not a whole number of at least 1"),
        (["--store=a", "--limit=few"], "--limit: 'few' is not a whole number of at least 1"),
        (["--store=a", "--limit"], "--limit needs a value: a whole number of at least 1"),
        (["--store=a", "--pool=median"], "--pool: 'median' is not one of mean, last"),
        (["--store=a", "--drop=perhaps"], "--drop: 'perhaps' is not true or false"),
        (["--store=a", "--shares=1,2"], "--shares: '1,2' is not 2 values separated by commas, each a number below 1"),
        (["--store=None"], "--store is required"),
        ([], "--store is required"),
        (["--config=nowhere.yaml"], "nowhere.yaml: no such file"),
    ],
)
def test_what_does_not_fit_is_one_sentence(argv: list[str], said: str, capsys) -> None:
    assert run(argv)[0] == 2
    assert capsys.readouterr().err == f"error: {said} (see python -m work --help)\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("store: a\nlimt: 3\n", "there is no setting 'limt'; did you mean limit?"),
        ("store: a\nlimit: few\n", "limit: should be a whole number of at least 1"),
        ("store: [\n", "Problems parsing config"),
    ],
)
def test_what_does_not_fit_in_a_file_names_the_file(tmp_path, text: str, said: str, capsys) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    assert run(["--config", str(file)])[0] == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {file}: ")
    assert said in line


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--store=a", "--drop"], {"drop": True}),
        (["--store=a", "--drop", "--limit", "3"], {"drop": True, "limit": 3}),
        (["--store=a", "--limit", "None"], {}),
        (["--store=a", "--pool=None"], {}),
        (["--store=a", "--shares=0.5,0.25"], {"shares": (0.5, 0.25)}),
        (["--store=a", "--shares=[0.5, 0.25]"], {"shares": (0.5, 0.25)}),
    ],
)
def test_ways_of_writing_a_value(argv: list[str], expected: dict) -> None:
    assert run(argv)[1] == [Settings(store="a", **expected)]


def test_help_shows_each_fields_docstring(capsys) -> None:
    with pytest.raises(SystemExit):
        run(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "At most this many." in text
    assert "Do the work." in text
    assert "The shares. (default: (0.5, 0.5))" in text
    assert not any(word in text for word in ("Annotated", "Optional", "BeforeValidator", "null"))


def test_print_config_shows_the_whole(capsys) -> None:
    with pytest.raises(SystemExit):
        run(["--store=a", "--print_config"])
    out = capsys.readouterr().out
    assert all(line in out for line in ("store: a", "limit: null", "drop: false", "project: null"))


def test_input_error_is_one_line_and_two(capsys) -> None:
    def fail(_: Settings) -> None:
        raise InputError("the file x is empty; give another")

    assert main("p", {"work": Command(Settings, fail)}, "work", ["--store=a"]) == 2
    assert capsys.readouterr().err == "error: the file x is empty; give another\n"


def test_subcommand_by_name_and_unknown_command(capsys) -> None:
    seen: list[str] = []
    commands = {
        "one": Command(Settings, lambda c: seen.append("one")),
        "two": Command(Settings, lambda c: seen.append("two"), "store"),
    }
    assert main("p", commands, None, ["two", "a.zarr"]) == 0
    assert main("p", commands, None, ["tow"]) == 2
    assert seen == ["two"]
    assert capsys.readouterr().err.startswith("error: no command 'tow'; did you mean two?; there are:\n  p one  Do the")
    assert main("p", commands, None, ["--help"]) == 0
    assert "p two  Do the work." in capsys.readouterr().out
    assert main("p", commands, "one", ["tow", "x"]) == 2
    assert main("p", commands, None, []) == 2


def test_interrupt_says_what_is_kept(capsys) -> None:
    def work(_: Settings) -> None:
        raise KeyboardInterrupt

    command = Command(Settings, work, after_interrupt="half of it is kept")
    assert main("p", {"work": command}, "work", ["--store=a"]) == 130
    assert capsys.readouterr().err == "interrupted; half of it is kept\n"


def test_reader_that_leaves_early_is_no_error() -> None:
    """`python -m taxonomy images --help | head -1` and the like."""
    program = (
        "import sys; from commandline import Command, Config, main\n"
        "class C(Config):\n    'Print.'\n"
        "def run(c):\n    for i in range(200_000): print(i)\n"
        "sys.exit(main('p', {'work': Command(C, run)}, 'work', []))"
    )
    command = f"{sys.executable} -c {shlex.quote(program)} | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.stdout == "0\n"
    assert done.stderr == ""
