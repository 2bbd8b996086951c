"""Checkpoints of trials: as a whole or not at all, where every node finds them."""
