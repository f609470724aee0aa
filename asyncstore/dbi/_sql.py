"""What the first word of a statement says about it."""

from __future__ import annotations

import re
from functools import lru_cache

from asyncstore.dbi._request import Sort

__all__ = ("first_word", "leaves_traces", "sort_of")

_FIRST = re.compile(r"(?:\s|;|\(|--[^\n]*(?:\n|\Z)|/\*.*?(?:\*/|\Z))*+(?P<word>[a-zA-Z]*)", re.DOTALL)
_SORTS = {
    **dict.fromkeys(("SELECT", "VALUES", "EXPLAIN"), Sort.READ),
    **dict.fromkeys(("INSERT", "UPDATE", "DELETE", "REPLACE", "MERGE"), Sort.WRITE),
}
_WRITES = re.compile(r"\b(?:INSERT|UPDATE|DELETE|REPLACE|MERGE)\b", re.IGNORECASE)


@lru_cache(1024)
def first_word(sql: str) -> str:
    """Return the first word of a statement, behind comments, in capitals; "" when there is none."""
    match = _FIRST.match(sql)
    return match["word"].upper() if match else ""


@lru_cache(1024)
def sort_of(sql: str) -> Sort:
    """Return how a statement may travel with others."""
    word = first_word(sql)
    if word == "WITH":
        # It may introduce either. One that has such a word only in a string is taken for what it is not, which is
        # right too: what reads may travel with what writes.
        return Sort.WRITE if _WRITES.search(sql) else Sort.READ
    return _SORTS.get(word, Sort.ALONE)


# What outlives a plain statement: locks and settings that functions take, MySQL's variables, temporary tables.
_TRACES = re.compile(r"advisory|set_config|get_lock|pg_temp|\btemp\b|temporary|@\w*+\s*+:?=|\binto\s++@", re.IGNORECASE)


@lru_cache(1024)
def leaves_traces(sql: str) -> bool:
    """Return whether a statement may change the session for those after it. What a function does inside is not seen."""
    return sort_of(sql) is Sort.ALONE or _TRACES.search(sql) is not None
