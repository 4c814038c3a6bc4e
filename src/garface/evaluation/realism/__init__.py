"""How much renders look like photos."""
