"""What a database's URL and the options beside it may say."""

from __future__ import annotations

import pytest

from asyncstore.dbi._url import database_of


def settings_of(url, options):
    return database_of(url, options).settings


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite://", ":memory:"),
        ("sqlite:///", ":memory:"),
        ("sqlite:///:memory:", ":memory:"),
        ("sqlite:///notes.db", "notes.db"),
        ("sqlite:////srv/notes.db", "/srv/notes.db"),
        ("sqlite:///with%20space%3F.db", "with space?.db"),
    ],
)
def test_the_path_follows_three_slashes(url, path):
    assert settings_of(url, {}).path == path


def test_options_stand_in_the_query_and_those_given_win():
    url = "sqlite:///a.db?synchronous=normal&foreign_keys=off&cached_statements=9&mode=ro"
    settings = settings_of(url, {"mode": "rw"})
    assert (settings.synchronous, settings.foreign_keys, settings.cached_statements) == ("normal", False, 9)
    assert settings.mode == "rw"


@pytest.mark.parametrize(
    ("url", "options", "message"),
    [
        ("oracle://host/db", {}, "begins with one of sqlite://, .*, not with 'oracle'"),
        ("notes.db", {}, "not with ''"),
        ("sqlite://notes.db", {}, "not on the host 'notes.db'"),
        ("sqlite:///a.db?synchronous=maybe", {}, "synchronous is one of 'off', 'normal', 'full', 'extra', not 'maybe'"),
        ("sqlite:///a.db?cached_statements=many", {}, "cached_statements is an int"),
        ("sqlite:///a.db", {"mode": "x"}, "mode is one of"),
    ],
)
def test_what_cannot_be_is_told(url, options, message):
    with pytest.raises(ValueError, match=message):
        settings_of(url, options)


@pytest.mark.parametrize(
    ("url", "options", "message"),
    [
        (b"sqlite://", {}, "a database URL is a str, not bytes"),
        ("sqlite:///a.db?speed=9", {}, "no option 'speed', but cached_statements"),
        ("sqlite:///a.db", {"path": "b"}, "no option 'path'"),
        ("sqlite:///a.db?foreign_keys=perhaps", {}, "foreign_keys is True or False"),
    ],
)
def test_what_is_of_the_wrong_kind_is_told(url, options, message):
    with pytest.raises(TypeError, match=message):
        settings_of(url, options)
