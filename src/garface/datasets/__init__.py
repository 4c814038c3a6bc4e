"""Training sets: portraits, photos with their fits, and heads recombined from them."""
