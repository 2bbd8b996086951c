"""Which trial goes on, waits, ends or becomes a copy of another."""
