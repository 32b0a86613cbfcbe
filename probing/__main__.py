"""`python -m probing STORE`: probe every site of a store."""

import sys

from commandline import Command, main
from probing.config import ProbeConfig


def _run(config: ProbeConfig) -> None:
    from probing.run import run

    run(config)


COMMANDS = {"run": Command(ProbeConfig, _run, "store")}

if __name__ == "__main__":
    sys.exit(main("python -m probing", COMMANDS, "run"))
