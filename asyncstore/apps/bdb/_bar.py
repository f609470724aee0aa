"""A progress bar on a terminal, for work that tells how far it is."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any, Self

from asyncstore.bdb import CompactProgress, Progress

__all__ = ("Bar",)


class Bar:
    """Shows `Progress` on stderr, when that is a terminal and `quiet` is false."""

    def __init__(self, label: str, *, quiet: bool) -> None:
        self._label = label
        self._shown = not quiet and sys.stderr.isatty()
        self._bar: Any = None  # tqdm's, which has no type of its own worth naming

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, progress: Progress) -> None:
        """Show how far the work is."""
        self._show(progress.done, progress.total, progress.unit, progress.what)

    def compacted(self, progress: CompactProgress) -> None:
        """Show how far a compaction is; how far it has to go nobody knows."""
        self._show(progress.examined, None, "pages", f"{progress.freed} freed")

    def _show(self, done: int, total: int | None, unit: str, what: str) -> None:
        if not self._shown:
            return
        if self._bar is None:
            from tqdm import tqdm

            size = unit == "bytes"
            self._bar = tqdm(
                total=total, desc=self._label, unit="B" if size else f" {unit}", unit_scale=size,
                unit_divisor=1024 if size else 1000, leave=False, file=sys.stderr,
            )  # fmt: skip
        self._bar.total = total
        self._bar.set_postfix_str(what, refresh=False)
        self._bar.update(done - self._bar.n)
