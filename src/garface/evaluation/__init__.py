"""Figures and measurements of what was trained and reconstructed."""
