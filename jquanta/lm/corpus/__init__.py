"""The canonical corpus: documents in, token arrays and numbered predictions out."""

MAX_LENGTH = 1024
"""Tokens that documents are cut to by default: the paper's."""

CUT, SPLIT = LONG = ("cut", "split")
"""What can become of a longer document: its head is kept, or it is made into several."""
