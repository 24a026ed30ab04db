"""Harnesses that try to break what jquanta promises: damaged input, and death at any moment.

``python -m tests.trust.fuzz`` and ``python -m tests.trust.kills`` (``make fuzz``, ``make kills``)
run for as long as they are asked to; ``test_fuzz.py`` and ``test_kills.py`` are their short forms,
with the same seeds everywhere.
"""
