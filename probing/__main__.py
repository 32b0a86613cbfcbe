"""`python -m probing STORE`: probe every site of a store; `python -m probing compare STORE`: as published, too."""

import sys

from commandline import Command, main
from probing.compare_config import CompareConfig
from probing.config import ProbeConfig


def _run(config: ProbeConfig) -> None:
    from probing.run import run

    run(config)


def _compare(config: CompareConfig) -> None:
    from probing.compare import run

    run(config)


COMMANDS = {"run": Command(ProbeConfig, _run, "store"), "compare": Command(CompareConfig, _compare, "store")}

if __name__ == "__main__":
    sys.exit(main("python -m probing", COMMANDS, "run"))
