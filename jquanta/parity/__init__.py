"""Multitask sparse parity: configuration, task, network and trainers, as pure functions."""
