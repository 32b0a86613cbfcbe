"""`python -m organisms`: small models and a rendered world to try the tool on."""

import sys

from commandline import Command, main
from organisms.demo import DemoConfig, demo
from organisms.matrix import MatrixConfig, write

COMMANDS = {"demo": Command(DemoConfig, demo), "architectures": Command(MatrixConfig, write)}

if __name__ == "__main__":
    sys.exit(main("python -m organisms", COMMANDS, "demo"))
