"""`python -m tuning ablate`: optimizers and balancers against each other."""
