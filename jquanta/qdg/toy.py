"""The old spelling of ``jquanta known toy``."""

import sys

from jquanta.cli.moved import say

if __name__ == "__main__":
    sys.exit(say("known", "toy"))
