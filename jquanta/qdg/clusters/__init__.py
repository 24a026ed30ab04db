"""Affinities, spectral embedding, k-means, centres, ranks and quality of clusters."""
