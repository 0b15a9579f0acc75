"""Surrogates and strategies against finished tables of runs, every one charged and scored alike."""
