"""``cryotx`` and ``python -m cryotx_cli``, also under ``torchrun -m``: the command line, once it can be loaded."""

import sys


def main() -> None:
    """Run the command line; a library that cannot be imported is a line, not a traceback."""
    from cryotx_cli.loading import pass_over_plugins, uncollected
    from cryotx_cli.processor import use_granted_cores
    from cryotx_cli.streams import steady_streams
    from cryotx_cli.surroundings import explained

    use_granted_cores()
    pass_over_plugins()
    streams = steady_streams()
    try:
        with uncollected():
            from cryotx_cli.cli.app import main as run
    except Exception as error:
        reason = explained(error)
        if reason is None:
            raise
        sys.stderr.write(f"Error: {reason.message}\n{reason.hint}\n")
        sys.exit(1)
    run(streams)


if __name__ == "__main__":
    main()
