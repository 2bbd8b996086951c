"""What is known of an experiment: its events, the trials that they make, its folder."""
