"""Variants of one training recipe, compared at equal cost."""
