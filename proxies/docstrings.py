"""The docstrings of Python text, and the code without them.

A lexer of strings and comments finds them (a bare triple-quoted string at the start of a module or after a colon);
parsing with `ast` finds the same ones but takes several times as long.
"""

import inspect
import re
from collections.abc import Sequence

# Strings first eat what looks like a comment inside them, and the other way round.
_LEXEMES = re.compile(
    r"#[^\n]*"
    r'|(?P<triple>[rRuU]?(?P<quote>"""|\'\'\')(?P<body>(?:\\.|[^\\])*?)(?P=quote))'
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'(?:\\.|[^'\\\n])*'",
    re.DOTALL,
)
_LEADING = re.compile(r"(?:\s|#[^\n]*\n)*\Z")  # nothing but white space and comments
_COMMENTED_COLON = re.compile(r":[ \t]*(?:#[^\n]*)?\s*(?:#[^\n]*\s*)*\Z")
_LOOK_BACK = 400  # characters between a colon and its docstring: rarely more than a comment

Span = tuple[int, int, int, int]  # start and end of a docstring with its quotes, then of the text inside


def spans(code: str) -> list[Span]:
    """Return where the docstrings of `code` are, in order."""
    return [
        (match.start(), match.end(), match.start("body"), match.end("body"))
        for match in _LEXEMES.finditer(code)
        if match["triple"] is not None and _opens_a_body(code, match.start())
    ]


def docstrings(code: str, where: Sequence[Span]) -> str:
    """Return the docstrings of `code`, without their indentation, a blank line between two."""
    return "\n\n".join(text for *_, start, end in where if (text := inspect.cleandoc(code[start:end])))


def without_docstrings(code: str, where: Sequence[Span]) -> str:
    """Return `code` with its docstrings cut out, and the lines that this leaves empty."""
    kept, position = [], 0
    for start, end, *_ in where:
        line = code.rfind("\n", position, start) + 1
        kept.append(
            code[position : max(line, position)]
            if code[line:start].isspace() or line == start
            else code[position:start]
        )
        position = end + 1 if code[end : end + 1] == "\n" else end
    return "".join([*kept, code[position:]])


def _opens_a_body(code: str, start: int) -> bool:
    line = code.rfind("\n", 0, start) + 1
    if code[line:start].strip():
        return False
    before = code[max(0, start - _LOOK_BACK) : start]
    if before.rstrip().endswith(":"):
        return True
    return _COMMENTED_COLON.search(before) is not None or (start < 20_000 and _LEADING.match(code[:start]) is not None)
