"""What to try next: Optuna's samplers, the prior, earlier experiments."""
