"""The corpus: documents are tokenised into arrays on disk, and every prediction gets a number.

``build`` makes a corpus folder from a source of documents (``sources``, ``stdlib``) and a tokenizer
(``tokenizer``); ``layout`` says which files the folder has; ``reader`` opens it.
"""

MAX_LENGTH = 1024
"""Largest number of tokens of a document: 1,024, as in the paper."""

CUT, SPLIT = LONG = ("cut", "split")
"""What can be done with a longer document: its head is kept, or it is made into several."""
