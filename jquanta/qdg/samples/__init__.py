"""Which predictions are samples, and the tokens before them."""
