"""What came out of a search: the best trial, its fresh seeds, its run config, tables."""
