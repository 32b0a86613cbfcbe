"""`python -m organisms`: small models and a rendered world to try the tool on."""

import sys

from commandline import Command, main
from organisms.calibrate import CalibrateConfig, calibrate
from organisms.check import CheckConfig, check
from organisms.demo import DemoConfig, demo
from organisms.matrix import MatrixConfig, write
from organisms.training.command import TrainConfig, train

COMMANDS = {
    "demo": Command(DemoConfig, demo),
    "train": Command(TrainConfig, train, "organisms", "organisms that are whole stay"),
    "check": Command(CheckConfig, check, "organisms"),
    "calibrate": Command(
        CalibrateConfig, calibrate, after_interrupt="what was measured stays; the same command goes on"
    ),
    "architectures": Command(MatrixConfig, write),
}

if __name__ == "__main__":
    sys.exit(main("python -m organisms", COMMANDS, "demo"))
