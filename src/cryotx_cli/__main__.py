"""``python -m cryotx_cli``: the command line, also under ``torchrun -m``."""

from cryotx_cli.cli.app import main

if __name__ == "__main__":
    main()
