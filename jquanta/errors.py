"""How jquanta says that something is wrong: one class for each exit code of the command line."""


class JquantaError(Exception):
    """Base of the errors that a command reports in one line, without a traceback."""

    exit_code = 1


class BadInput(JquantaError, ValueError):
    """The user's input is wrong; the message names the field, file or key and the remedy.

    Raised before anything is written. Exit code 2.
    """

    exit_code = 2


class RunFailed(JquantaError, RuntimeError):
    """The work failed on the way (disk full, device out of memory); it can be resumed.

    Exit code 1.
    """


class Interrupted(JquantaError):
    """The user stopped the work (Ctrl-C or SIGTERM); a checkpoint was written. Exit code 130."""

    exit_code = 130
