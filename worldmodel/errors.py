"""The one error a user is meant to read."""

from textwrap import shorten

_WORDS = 300
"""characters of somebody else's error that are enough"""


class UserError(Exception):
    """Something the user can mend: one sentence that names the cause and what to do about it.

    Raised where a bad value is first known; shown without a traceback by the handler in `experiments`.
    """


def in_short(error: BaseException) -> str:
    """Somebody else's error on one line, to be told within a sentence of ours."""
    words = shorten(str(error), _WORDS, placeholder=" ...")
    return f"{type(error).__name__}: {words}" if words else type(error).__name__
