"""How much drawn faces look like photos."""
