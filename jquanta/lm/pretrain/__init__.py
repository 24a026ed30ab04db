"""Pretraining of small suites: models of several sizes on the same tokens, with their losses."""
