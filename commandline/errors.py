"""The one exception that means "what you gave cannot be used", and how another library's error is quoted in it."""


class InputError(ValueError):
    """Something the user gave is wrong; the message says what, where, and how to mend it, in one sentence or two.

    A command prints the message alone and exits with 2; any other exception is our defect and keeps its traceback.
    """


def first_line(error: BaseException) -> str:
    """What an error says, without the pages some libraries add; its name where it says nothing."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
