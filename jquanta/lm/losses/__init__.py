"""Per-token losses of language models on a corpus: one column a model and revision."""
