"""Figures of sweeps on multitask sparse parity."""
