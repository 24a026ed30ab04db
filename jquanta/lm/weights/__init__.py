"""Weights of language models: from the hub or a folder, into named parameters, and back."""
