"""Many experiments of sparse parity: configuration, plan, drive, results; emergence and scaling fits."""
