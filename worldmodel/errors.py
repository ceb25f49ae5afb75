"""The one error a user is meant to read."""


class UserError(Exception):
    """Something the user can mend: one sentence that names the cause and what to do about it.

    Raised where a bad value is first known; shown without a traceback by the handler in `experiments`.
    """
