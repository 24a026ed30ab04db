"""The old spelling of ``jquanta corpus``."""

import sys

from jquanta.cli.moved import say

if __name__ == "__main__":
    sys.exit(say("corpus"))
