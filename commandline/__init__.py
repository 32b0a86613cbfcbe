"""What every command shares: configurations parsed from files and flags, and errors a user can act on."""

from commandline.errors import InputError, first_line
from commandline.parse import Command, Config, Names, main

__all__ = ["Command", "Config", "InputError", "Names", "first_line", "main"]
