"""`python -m analysis report RUN`: a probe run as one HTML file."""

import sys

from analysis.config import ReportConfig
from commandline import Command, main


def _report(config: ReportConfig) -> None:
    from analysis.report import run

    run(config)


COMMANDS = {"report": Command(ReportConfig, _report, "run")}

if __name__ == "__main__":
    sys.exit(main("python -m analysis", COMMANDS))
