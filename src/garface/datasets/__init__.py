"""Training sets: portraits, prepared faces with their fits, and heads recombined from them."""
