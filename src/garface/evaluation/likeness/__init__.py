"""How near drawings come to the photos they reconstruct."""
