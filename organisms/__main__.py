"""`python -m organisms`: small models and a rendered world to try the tool on."""

import sys

from commandline import Command, main
from organisms.demo import DemoConfig, demo

COMMANDS = {"demo": Command(DemoConfig, demo)}

if __name__ == "__main__":
    sys.exit(main("python -m organisms", COMMANDS, "demo"))
