"""GPT-NeoX (Pythia) and GPT-Neo (TinyStories) in Flax NNX, as pure functions of parameters."""
