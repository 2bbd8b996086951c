"""Ray, started here or joined, and what it may still grow to."""
