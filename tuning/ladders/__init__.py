"""``python -m tuning ladder``: a config and its baseline at several lmbda and seeds, judged."""
