"""Rivals of the product's own strategy, as their authors have them; each one a strategy that a user may choose."""
