"""How near renders come to the photos they reconstruct."""
