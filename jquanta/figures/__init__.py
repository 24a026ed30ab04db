"""The paper's figures, one module each, from stored results only."""
