"""The exceptions that jquanta raises: one class for each exit code of the command line."""


class JquantaError(Exception):
    """Base class of the errors that commands report in one line, without a traceback.

    Attributes:
        exit_code: of the command.
    """

    exit_code = 1


class BadInput(JquantaError, ValueError):
    """The user's input is wrong. The message names the field, file or key, and the remedy.

    Raised before anything is written. Exit code 2.
    """

    exit_code = 2


class RunFailed(JquantaError, RuntimeError):
    """Work failed after it began, such as on a full disk or memory. The same command resumes it.

    Exit code 1.
    """


class Interrupted(JquantaError):
    """The user stopped the work (Ctrl-C or SIGTERM) and a checkpoint was written. Exit code 130."""

    exit_code = 130
