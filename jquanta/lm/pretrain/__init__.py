"""Pretrain suites of small models: several sizes on the same tokens, with their losses."""
