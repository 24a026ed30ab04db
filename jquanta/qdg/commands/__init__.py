"""What is asked of a finished QDG run: one command a question."""
