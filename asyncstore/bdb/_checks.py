"""What settings may be: checked by name before anything reaches a worker."""

from __future__ import annotations

__all__ = ("check_int", "check_time", "check_word")


def check_int(name: str, value: object, least: int, most: int) -> None:
    """Raise TypeError or ValueError unless `value` is an int from `least` to `most`."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} is an int, not {type(value).__name__}")
    if not least <= value <= most:
        raise ValueError(f"{name} is {least} to {most}, not {value}")


def check_time(name: str, value: object, least: float, most: float) -> None:
    """Raise TypeError or ValueError unless `value` is a number of seconds from `least` to `most`."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} is a number of seconds, not {type(value).__name__}")
    if not least <= value <= most:
        raise ValueError(f"{name} is {least:g} to {most:g} seconds, not {value!r}")


def check_word(name: str, value: object, words: tuple[str, ...]) -> None:
    """Raise ValueError unless `value` is one of `words`."""
    if value not in words:
        raise ValueError(f"{name} is one of {', '.join(map(repr, words))}, not {value!r}")
