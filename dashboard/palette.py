"""Colours that stay apart, and legible on a light and on a dark page: middle lightness throughout."""

from __future__ import annotations

import colorsys

# Okabe and Ito's order of hues (told apart by colour-blind readers), moved to middle lightness.
FIRST = ("#4C8FD6", "#E0912F", "#2FA37C", "#D1605E", "#9A77CF", "#B8A03A", "#4FB3C6", "#C76BA3", "#8C8C8C", "#A5734D")
GOOD, BAD, NEUTRAL = "#2FA37C", "#D1605E", "#8C8C8C"
SCALE = [[0.0, "#2FA37C"], [0.5, "#C9B458"], [1.0, "#D1605E"]]  # low loss is good
SHARES = [[0.0, "#DCE7F3"], [1.0, "#4C8FD6"]]  # cells that cover the page, so that one ink is legible on all of them
INK = "#10243A"
GOLDEN = 0.61803398875  # successive hues at this turn never come close


def colors(n: int) -> list[str]:
    """Return `n` colours, the first ten fixed; further ones walk around the hues at two lightnesses."""
    return [FIRST[i] if i < len(FIRST) else _generated(i) for i in range(n)]


def _generated(i: int) -> str:
    lightness = (0.48, 0.62)[i % 2]
    red, green, blue = colorsys.hls_to_rgb((0.11 + i * GOLDEN) % 1.0, lightness, 0.42)
    return f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"
