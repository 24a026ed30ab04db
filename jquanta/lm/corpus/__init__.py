"""The canonical corpus: documents in, token arrays and numbered predictions out."""
