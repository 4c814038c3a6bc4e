"""How well drawn faces obey their geometry and keep the person."""
