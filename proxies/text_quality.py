"""Which files are text that somebody wrote: not short, not generated, not minified."""

import re

MIN_CHARACTERS = 200  # shorter files are stubs, re-exports and empty packages
MAX_CHARACTERS = 400_000  # larger files are tables or bundles, and one would fill a small domain alone
MAX_MEAN_LINE = 200  # characters; minified code and packed data lie above, prose in one line a paragraph below or near
MAX_LINE = 5_000
HEAD_CHARACTERS = 2_000  # where a generator signs its work

_GENERATED = re.compile(
    r"do not (?:edit|modify)|@generated|auto-?\s?generated|automatically generated|generated (?:by|from|automatically)"
    r"|machine generated|generated code|this file (?:is|was) generated",
    re.IGNORECASE,
)


def is_worth_reading(text: str, *, allow_long_lines: bool) -> bool:
    """Return whether `text` is neither short nor huge, generated or (unless long lines are allowed) minified."""
    if not MIN_CHARACTERS <= len(text) <= MAX_CHARACTERS or "\0" in text:
        return False
    if _GENERATED.search(text, 0, HEAD_CHARACTERS):
        return False
    if allow_long_lines:
        return True
    lines = text.split("\n")
    return len(text) <= MAX_MEAN_LINE * len(lines) and max(map(len, lines)) <= MAX_LINE
