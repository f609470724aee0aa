"""The first word of a statement says how it may travel."""

from __future__ import annotations

import pytest

from asyncstore.dbi._request import Sort
from asyncstore.dbi._sql import first_word, leaves_traces, sort_of


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
        ("WITH a AS (SELECT 1) SELECT * FROM a", Sort.READ),
        ("with a as (delete from t returning *) select * from a", Sort.WRITE),
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


@pytest.mark.parametrize(
    ("sql", "traces"),
    [
        ("SELECT 1", False),
        ("INSERT INTO template VALUES (?)", False),
        ("WITH a AS (SELECT 1) SELECT * FROM a", False),
        ("SELECT pg_advisory_lock(1)", True),
        ("SELECT set_config('a', 'b', false)", True),
        ("SELECT get_lock('a', 1)", True),
        ("SELECT @a := 1", True),
        ("SELECT 1 INTO @a", True),
        ("SET x = 1", True),
        ("CREATE TEMPORARY TABLE t (a int)", True),
        ("SELECT * INTO TEMP t FROM s", True),
        ("PRAGMA cache_size = 1", True),
    ],
)
def test_what_outlives_a_statement(sql, traces):
    assert leaves_traces(sql) is traces
