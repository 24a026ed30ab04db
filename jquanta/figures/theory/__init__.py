"""Figures that need no runs: theory alone, and published exponents."""
