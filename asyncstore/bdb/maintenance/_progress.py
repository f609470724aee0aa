"""What long work tells of itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

__all__ = ("Progress", "ProgressCallback")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far long work has come: `done` of `total` in `unit`; `total` None: nobody knows. `what`: being worked on."""

    what: str
    done: int
    total: int | None
    unit: str


ProgressCallback: TypeAlias = Callable[[Progress], object]
