"""Rows are tuples that know their columns."""

from __future__ import annotations

import pickle

import pytest

from asyncstore.dbi._rows import Row, row_class

ROW = row_class(("a", "b", "a"))((1, "two", 3))


def test_a_row_is_a_tuple():
    assert ROW == (1, "two", 3)
    assert hash(ROW) == hash((1, "two", 3))
    first, *others = ROW
    assert (first, others) == (1, ["two", 3])
    assert isinstance(ROW, tuple)


def test_a_value_is_found_by_index_slice_and_name():
    assert (ROW[1], ROW[-1], ROW["b"]) == ("two", 3, "two")
    assert ROW[1:] == ("two", 3)


def test_of_columns_with_one_name_the_first_is_found():
    assert ROW["a"] == 1


def test_a_row_becomes_a_dict():
    assert dict(ROW) == {"a": 1, "b": "two"}
    assert dict(ROW.items()) == dict(ROW)
    assert ROW.keys() == ("a", "b")


def test_what_is_not_there_is_told():
    with pytest.raises(KeyError, match="c"):
        ROW["c"]
    with pytest.raises(IndexError):
        ROW[3]
    assert ROW.get("c") is None
    assert ROW.get("c", 4) == 4
    assert ROW.get("b") == "two"


def test_a_row_shows_names_and_values():
    assert repr(ROW) == "Row(a=1, b='two')"


def test_the_rows_of_equal_columns_share_a_class():
    assert row_class(("a", "b", "a")) is type(ROW)
    assert issubclass(type(ROW), Row)


def test_a_row_travels_to_other_processes():
    again = pickle.loads(pickle.dumps(ROW))
    assert again == ROW
    assert again["b"] == "two"
