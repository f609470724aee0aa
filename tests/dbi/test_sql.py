"""The first word of a statement says how it may travel."""

from __future__ import annotations

import pytest

from asyncstore.dbi._request import Sort
from asyncstore.dbi._sql import first_word, sort_of


@pytest.mark.parametrize(
    ("sql", "word"),
    [
        ("select 1", "SELECT"),
        ("  \n\tInsert into t values (1)", "INSERT"),
        ("-- a comment\nUPDATE t SET a = 1", "UPDATE"),
        ("/* one */ /* two\n */ (SELECT 1)", "SELECT"),
        (";;commit", "COMMIT"),
        ("", ""),
        ("-- only a comment", ""),
        ("/* not closed", ""),
        ("42", ""),
    ],
)
def test_first_word(sql, word):
    assert first_word(sql) == word


@pytest.mark.parametrize(
    ("sql", "sort"),
    [
        ("SELECT 1", Sort.READ),
        ("WITH a AS (SELECT 1) INSERT INTO t SELECT * FROM a", Sort.WRITE),
        ("DELETE FROM t", Sort.WRITE),
        ("PRAGMA user_version = 1", Sort.ALONE),
        ("VACUUM", Sort.ALONE),
        ("CREATE TABLE t (a)", Sort.ALONE),
        ("what", Sort.ALONE),
    ],
)
def test_sort(sql, sort):
    assert sort_of(sql) is sort


def test_a_long_comment_takes_no_time():
    assert first_word("--" + "-" * 1_000_000) == ""
    assert first_word("/*" * 200_000) == ""
