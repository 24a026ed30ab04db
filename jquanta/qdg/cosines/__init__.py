"""Cosines of all pairs of samples."""
