"""Measurements that print ratios: ``python -m benchmarks NAME``."""
