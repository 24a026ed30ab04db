"""Per-token losses of language models on a corpus: one column a model and revision."""

DTYPES = ("float32", "bfloat16")
"""Number types in which weights are held and multiplied."""
