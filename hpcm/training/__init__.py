"""Training: data, one optimiser step, one loop, checkpoints."""
