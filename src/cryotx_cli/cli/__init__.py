"""The command line: the only code that knows Typer and rich."""

SOME_SKIPPED = 3
"""Exit code of a run that is finished, though some micrographs were skipped."""
