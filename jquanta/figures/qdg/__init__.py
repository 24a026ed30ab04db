"""Figures of quanta discovery from gradients (QDG)."""
