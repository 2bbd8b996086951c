"""What is checked before a search, and what is done when something breaks."""
