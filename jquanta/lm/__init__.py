"""Language models: corpus → models ← weights → per-token losses; pretraining of small suites."""
