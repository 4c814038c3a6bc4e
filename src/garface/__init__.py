"""garface."""
