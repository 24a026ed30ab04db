"""What can be asked of a finished run: emergence, assignment, mechanism, stability, comparison."""
