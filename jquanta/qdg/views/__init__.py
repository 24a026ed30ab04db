"""What stands for a sample: its gradient, a sketch of it, or an activation."""
