"""Many experiments of sparse parity: configuration, plan, results, emergence, scaling fits."""
