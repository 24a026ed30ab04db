"""The old spelling of ``jquanta qdg``."""

import sys

from jquanta.cli.moved import say

if __name__ == "__main__":
    sys.exit(say("qdg"))
