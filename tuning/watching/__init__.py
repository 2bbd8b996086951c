"""What a person sees of a search: console, summary, the copy of the study, Weights & Biases."""
