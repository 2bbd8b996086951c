"""The trials as an Optuna study: a sampler's evidence, and a copy for people."""
