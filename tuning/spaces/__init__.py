"""The search-space file: read, checked, walked."""
