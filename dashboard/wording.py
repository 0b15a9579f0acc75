"""Numbers as people read them."""

from __future__ import annotations

import math
from datetime import datetime

SECONDS_A_MINUTE = 60
SECONDS_AN_HOUR = 3_600
LONGEST_NAME = 28  # letters that fit beside a bar


def flops(count: float) -> str:
    """Return a number of FLOPs in two digits, `1.2e16`; a dash where there is none."""
    if not math.isfinite(count):
        return "-"
    if count == 0:
        return "0"
    return f"{count:.1e}".replace("e+", "e").replace("e0", "e")


def bits(value: float, *, digits: int = 4) -> str:
    """Return a loss in bits per byte; a dash where there is none."""
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"


def plus_minus(mean: float, spread: float, *, digits: int = 4) -> str:
    """Return `mean +/- spread`, without the spread where it is unknown."""
    if not math.isfinite(mean) or not math.isfinite(spread):
        return bits(mean, digits=digits)
    return f"{mean:.{digits}f} +/- {spread:.{digits}f}"


def percent(share: float) -> str:
    """Return a share of one in percent; near the ends it never claims certainty."""
    if not math.isfinite(share):
        return "-"
    if share > 0.995:
        return ">99 %" if share < 1 else "100 %"
    if share < 0.005:
        return "<1 %" if share > 0 else "0 %"
    return f"{100 * share:.0f} %"


def weight(value: float) -> str:
    """Return a weight in three digits; an exact zero stays a bare 0."""
    return "0" if value == 0 else f"{value:.3f}"


def duration(elapsed_s: float) -> str:
    """Return seconds as `42 s`, `3 min 5 s` or `2 h 10 min`; a dash where there are none."""
    if not math.isfinite(elapsed_s):
        return "-"
    seconds = round(elapsed_s)
    if seconds < SECONDS_A_MINUTE:
        return f"{elapsed_s:.1f} s" if elapsed_s < 10 else f"{seconds} s"
    if seconds < SECONDS_AN_HOUR:
        return f"{seconds // SECONDS_A_MINUTE} min {seconds % SECONDS_A_MINUTE} s"
    return f"{seconds // SECONDS_AN_HOUR} h {seconds % SECONDS_AN_HOUR // SECONDS_A_MINUTE} min"


def short(name: str, *, letters: int = LONGEST_NAME) -> str:
    """Return a name that fits: the middle of a long one gives way, since names differ at their ends."""
    if len(name) <= letters:
        return name
    head = (letters - 2) // 2
    return name[:head] + ".." + name[-(letters - 2 - head) :]


def signed(value: float) -> str:
    """Return a difference in bits per byte with its sign; a dash where there is none."""
    return f"{value:+.4f}" if math.isfinite(value) else "-"


def interval(low: float, high: float) -> str:
    """Return an interval of differences; a dash where there is none."""
    return f"{low:+.4f} to {high:+.4f}" if math.isfinite(low) and math.isfinite(high) else "-"


def moment(when: datetime) -> str:
    """Return a moment to the second, in its own time zone."""
    return when.strftime("%Y-%m-%d %H:%M:%S")


def ago(when: datetime, *, now: datetime) -> str:
    """Return how long ago something was, coarse enough to stay still for a while."""
    elapsed_s = (now - when).total_seconds()
    if elapsed_s < SECONDS_A_MINUTE:
        return "just now"
    if elapsed_s < SECONDS_AN_HOUR:
        return f"{elapsed_s // SECONDS_A_MINUTE:.0f} min ago"
    return f"{elapsed_s // SECONDS_AN_HOUR:.0f} h ago" if elapsed_s < 100 * SECONDS_AN_HOUR else f"on {when:%Y-%m-%d}"
