"""QDG where the quanta are known: sparse parity, and a toy model."""
