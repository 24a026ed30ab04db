"""The corpus: documents are tokenised into arrays on disk, and every prediction gets a number.

``build`` makes a corpus folder from a source of documents (``sources``, ``stdlib``) and a tokenizer
(``tokenizer``); ``layout`` says which files the folder has; ``reader`` opens it.
"""
