"""Clusters to look at: results → ``Page`` (plain arrays) → one HTML file, or LaTeX."""
