"""How well renders follow their geometry and keep the person."""
