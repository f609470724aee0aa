r"""Statements with `?` and `:name` placeholders, rewritten into the notation that a driver takes. Sans-IO.

A placeholder is one only where SQL is: not in a string, a quoted name or a comment. Which notation counts follows from
the parameters: in a statement that comes with a sequence only `?` is a placeholder, with a mapping only `:name`, and
without either nothing is. A colon that follows a word, a bracket or a colon begins no name, so casts (`a::int`) and
slices (`a[1:n]`) stay as they are, and so does `:=`. PostgreSQL's operators `?`, `?|` and `?&` are written as they are
beside names, and with two question marks beside positional parameters; a colon that is meant as one is written `\:`.

Values never enter the text: they travel beside it, so nothing in them can be taken for SQL.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Any

__all__ = ("Statement", "Style", "Syntax", "rewrite")

CACHED = 512  # statements kept in their rewritten form, in the whole program


class Style(Enum):
    """How a driver marks parameters (PEP 249, paramstyle; and PostgreSQL's own)."""

    QMARK = "?"
    DOLLAR = "${}"
    NUMERIC = ":{}"
    FORMAT = "%s"
    NAMED = ":p{}"
    PYFORMAT = "%(p{})s"


class Syntax(Enum):
    """Whose rules say where a string, a name and a comment end."""

    SQLITE = "sqlite"
    POSTGRESQL = "postgresql"
    MYSQL = "mysql"
    DUCKDB = "duckdb"
    STANDARD = "standard"


class Kind(Enum):
    """What kind of parameters a statement comes with."""

    NONE = "none"
    POSITIONAL = "positional"
    NAMED = "named"


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement in a driver's notation."""

    text: str
    style: Style
    kind: Kind
    names: tuple[str, ...]  # of its parameters in the order in which the driver takes them; empty when they have none
    count: int  # of its parameters

    # Any: a parameter is whatever the driver takes.
    def arrange(self, parameters: Sequence[Any] | Mapping[str, Any]) -> Sequence[Any] | dict[str, Any]:
        """Put `parameters` in the driver's order. Raises ValueError and LookupError when they do not fit."""
        if self.kind is Kind.NAMED:
            missing = [name for name in self.names if name not in parameters]
            if missing:
                raise LookupError(f"there is no parameter named {', '.join(map(repr, dict.fromkeys(missing)))}")
            ordered = tuple(parameters[name] for name in self.names)  # type: ignore[call-overload]  # a mapping
        else:
            if len(parameters) != self.count:
                raise ValueError(f"the statement has {self.count} placeholders, and {len(parameters)} parameters came")
            ordered = parameters  # type: ignore[assignment]  # a sequence
        if self.style in (Style.NAMED, Style.PYFORMAT):
            return {f"p{number}": value for number, value in enumerate(ordered, 1)}
        return ordered


_SINGLE = r"'(?:[^']|'')*+(?:'|\Z)"  # unterminated: the rest is the string, and the server says so
_SINGLE_ESCAPED = r"'(?:[^'\\]|\\.|''|\\\Z)*+(?:'|\Z)"
_DOUBLE = r'"(?:[^"]|"")*+(?:"|\Z)'
_DOUBLE_ESCAPED = r'"(?:[^"\\]|\\.|""|\\\Z)*+(?:"|\Z)'
_BACKTICKS = r"`(?:[^`]|``)*+(?:`|\Z)"
_BRACKETS = r"\[[^\]]*+(?:\]|\Z)"
_DASHES = r"--[^\n]*+"
_BLOCK = r"/\*.*?(?:\*/|\Z)"
_NESTED = r"(?P<nested>/\*)"
_DOLLARS = r"(?<![\w$])\$(?P<tag>(?:[^\W\d]\w*+)?)\$.*?(?:\$(?P=tag)\$|\Z)"
_ESCAPES = r"(?<![\w$])[eE]" + _SINGLE_ESCAPED

_QUOTED: dict[Syntax, tuple[str, ...]] = {
    Syntax.SQLITE: (_SINGLE, _DOUBLE, _BACKTICKS, _BRACKETS, _DASHES, _BLOCK),
    Syntax.POSTGRESQL: (_ESCAPES, _SINGLE, _DOUBLE, _DOLLARS, _DASHES, _NESTED),
    Syntax.MYSQL: (
        _SINGLE_ESCAPED,
        _DOUBLE_ESCAPED,
        _BACKTICKS,
        r"--(?=\s|\Z)[^\n]*+",  # two dashes and no space behind them are two signs
        r"\#[^\n]*+",
        r"/\*(?!M?!).*?(?:\*/|\Z)",  # what is in /*! */ is executed
    ),
    Syntax.DUCKDB: (_ESCAPES, _SINGLE, _DOUBLE, _DOLLARS, _DASHES, _BLOCK),
    Syntax.STANDARD: (_SINGLE, _DOUBLE, _DASHES, _BLOCK),
}
_MARKS = r"(?P<literal>\?\?)|(?P<mark>\?)"
_NAMES = r"(?P<literal>\\:)|(?<![\w:\])]):(?P<name>[^\W\d]\w*+)"
_BORDER = re.compile(r"/\*|\*/")
_NUMBERED = frozenset({Style.DOLLAR, Style.NUMERIC, Style.NAMED, Style.PYFORMAT})  # a value may be referred to twice
_PERCENT = frozenset({Style.FORMAT, Style.PYFORMAT})  # a percent sign of the statement's own is written twice


@lru_cache(CACHED)
def rewrite(text: str, syntax: Syntax, style: Style, kind: Kind) -> Statement:
    """Write `text`, in the notation that `kind` calls for, as a driver wants it that marks parameters in `style`."""
    if kind is Kind.NONE:
        return Statement(text, style, kind, (), 0)
    pieces: list[str] = []
    names: list[str] = []
    count = done = 0
    for start, end, name in _placeholders(text, syntax, kind):
        pieces.append(_own(text[done:start], style))
        done = end
        if name is None:
            pieces.append(text[end - 1])
            continue
        if kind is Kind.NAMED and style in _NUMBERED and name in names:
            number = names.index(name) + 1
        else:
            count += 1
            number = count
            names.append(name)
        pieces.append(style.value.format(number))
    pieces.append(_own(text[done:], style))
    return Statement("".join(pieces), style, kind, tuple(names) if kind is Kind.NAMED else (), count)


def _own(piece: str, style: Style) -> str:
    """Return a piece of the statement as the driver will read it."""
    return piece.replace("%", "%%") if style in _PERCENT else piece


def _placeholders(text: str, syntax: Syntax, kind: Kind) -> Iterator[tuple[int, int, str | None]]:
    """Yield where placeholders are, with their names ("" for a question mark; None for a sign that was escaped)."""
    pattern = _pattern(syntax, kind)
    position = 0
    while (match := pattern.search(text, position)) is not None:
        position = match.end()
        what = match.lastgroup
        if what == "nested":
            position = _comment_end(text, match.start())
        elif what == "literal":
            yield match.start(), position, None
        elif what == "mark":
            yield match.start(), position, ""
        elif what == "name":
            yield match.start(), position, match["name"]


@lru_cache
def _pattern(syntax: Syntax, kind: Kind) -> re.Pattern[str]:
    """Return what finds, from left to right, all that is quoted and all placeholders."""
    return re.compile("|".join((*_QUOTED[syntax], _NAMES if kind is Kind.NAMED else _MARKS)), re.DOTALL)


def _comment_end(text: str, start: int) -> int:
    """Return where the comment ends that begins at `start`: PostgreSQL's nest."""
    depth = 0
    for match in _BORDER.finditer(text, start):
        depth += 1 if match[0] == "/*" else -1
        if depth == 0:
            return match.end()
    return len(text)
