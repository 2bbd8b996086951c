"""The web page of an experiment."""
