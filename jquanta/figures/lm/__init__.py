"""Figures of language models: their losses, and single tokens beside the text."""
