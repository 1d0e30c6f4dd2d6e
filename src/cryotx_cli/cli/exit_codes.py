"""The exit codes of all commands."""

from cryotx_cli.cli.signals import Terminated
from cryotx_cli.errors import ConfigError

DONE = 0
ERROR = 1
WRONG_USAGE = 2
SOME_SKIPPED = 3
"""Of a run that is finished, though some micrographs were skipped."""
INTERRUPTED = 130
TERMINATED = 143


def exit_code_of(error: BaseException) -> int:
    """Return the exit code of a command that ends with this."""
    if isinstance(error, KeyboardInterrupt):
        return TERMINATED if isinstance(error, Terminated) else INTERRUPTED
    return WRONG_USAGE if isinstance(error, ConfigError) else ERROR
