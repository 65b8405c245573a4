"""What a person did that cannot work, said so that they can mend it."""


class InputError(ValueError):
    """The recipe or something it names is wrong.

    The message says what was wrong, what was seen, what is allowed and what to do. The command line prints it
    without a traceback and exits with 2. Preflight raises what it can find; a stage raises what only reading shows,
    and what earlier stages made is kept.
    """


class Unavailable(RuntimeError):
    """This platform, or this model's architecture, cannot have what was asked for; the message says why."""
