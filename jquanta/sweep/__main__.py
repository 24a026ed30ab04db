"""``python -m jquanta.sweep``: the same as ``jquanta sweep``."""

import sys

from jquanta.cli.sweep import main

if __name__ == "__main__":
    sys.exit(main())
