"""The old spelling of ``jquanta pretrain``."""

import sys

from jquanta.cli.moved import say

if __name__ == "__main__":
    sys.exit(say("pretrain"))
