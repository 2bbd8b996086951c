"""Images by name, scores of a model on them, and comparisons of rate-distortion curves."""
