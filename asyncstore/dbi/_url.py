"""Database URLs: `sqlite:///relative.db`, `sqlite:////absolute.db`, `sqlite://` (in memory)."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from asyncstore.dbi.sqlite._settings import MEMORY, Settings

__all__ = ("settings_of",)

_BOOLEANS = {"1": True, "true": True, "on": True, "yes": True, "0": False, "false": False, "off": False, "no": False}


# Any: options are checked by the settings that they become.
def settings_of(url: str, options: dict[str, Any]) -> Settings:
    """Return what `url` and the keyword `options`, which win over its query, say. Raises ValueError and TypeError."""
    if not isinstance(url, str):
        raise TypeError(f"a database URL is a str, not {type(url).__name__}")
    parts = urlsplit(url)
    if parts.scheme != "sqlite":
        raise ValueError(f"the URL of a database begins with sqlite://, not with {parts.scheme!r}")
    if parts.netloc:
        raise ValueError(f"a SQLite database is a file, after three slashes or four, not on the host {parts.netloc!r}")
    path = unquote(parts.path)[1:]
    given: dict[str, Any] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name == "foreign_keys":
            given[name] = _BOOLEANS.get(value.lower(), value)
        elif name == "cached_statements":
            given[name] = int(value) if value.isdecimal() else value
        else:
            given[name] = value
    given.update(options)
    known = set(Settings.__dataclass_fields__) - {"path"}
    for name in given:
        if name not in known:
            raise TypeError(f"a SQLite database has no option {name!r}, but {', '.join(sorted(known))}")
    return Settings(path=path or MEMORY, **given)
