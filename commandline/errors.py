"""The one exception that means "what you gave cannot be used"."""


class InputError(ValueError):
    """Something the user gave is wrong; the message says what, where, and how to mend it, in one sentence or two.

    A command prints the message alone and exits with 2; any other exception is our defect and keeps its traceback.
    """
