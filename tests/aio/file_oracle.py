"""Runs the same operations on a file of `aio.open` and on one of `io.open`, and compares them one by one."""

from __future__ import annotations

import asyncio
import builtins
from pathlib import Path
from typing import Any

from asyncstore import aio


class Undecodable(Exception):
    """io could not decode a chunk: what it has lost by that, and where it stands, is nobody's model."""


class Pair:
    """Two files with the same content, one of each kind; `do` makes a call on both."""

    def __init__(self, folder: Path, content: bytes | None, mode: str, **options: Any) -> None:
        self.paths = folder / "ours", folder / "theirs"
        for path in self.paths:
            path.unlink(missing_ok=True)
            if content is not None:
                path.write_bytes(content)
        self.mode = mode
        self.options = options
        self.chunk = 0
        self.cookies: list[tuple[int, int]] = [(0, 0)]
        self.closed = False

    async def open(self) -> bool:
        """Open both; tell whether that worked, which must be the same for both."""
        ours, theirs = await self.both(
            lambda: aio.open(self.paths[0], self.mode, **self.options),
            lambda: builtins.open(self.paths[1], self.mode, **self.options),
        )
        if isinstance(ours, type):
            assert ours is theirs
            return False
        self.ours, self.theirs = ours, theirs
        if self.chunk:
            self.theirs._CHUNK_SIZE = self.chunk
        return True

    async def both(self, ours: Any, theirs: Any) -> tuple[Any, Any]:
        """Return what two calls gave; the class of what they raised stands for it."""
        results = []
        for call in (ours, theirs):
            try:
                result = call()
                if hasattr(result, "__await__"):
                    result = await result
            except Exception as error:
                result = type(error)
            results.append(result)
        if isinstance(results[1], type) and issubclass(results[1], UnicodeError):
            raise Undecodable(results[0])
        return results[0], results[1]

    async def do(self, name: str, *args: Any) -> None:
        ours, theirs = await self.both(
            lambda: getattr(self.ours, name)(*args), lambda: getattr(self.theirs, name)(*args)
        )
        assert same(ours, theirs), f"{name}{args}: ours {ours!r}, io's {theirs!r}"

    async def tell(self) -> None:
        """Take a cookie of each; they are compared by what a seek to them does."""
        ours, theirs = await self.both(self.ours.tell, self.theirs.tell)
        if theirs is OSError:  # io cannot tell after readlines(hint), which iterates; ours can, deliberately
            return
        assert isinstance(ours, type) == isinstance(theirs, type), f"tell: ours {ours!r}, io's {theirs!r}"
        if isinstance(ours, int):
            self.cookies.append((ours, theirs))

    async def seek(self, which: int) -> None:
        ours_to, theirs_to = self.cookies[which % len(self.cookies)]
        ours, theirs = await self.both(lambda: self.ours.seek(ours_to), lambda: self.theirs.seek(theirs_to))
        assert isinstance(ours, type) == isinstance(theirs, type), f"seek: ours {ours!r}, io's {theirs!r}"

    async def seek_raw(self, offset: int, whence: int) -> None:
        """Seek a binary file."""
        ours, theirs = await self.both(lambda: self.ours.seek(offset, whence), lambda: self.theirs.seek(offset, whence))
        assert same(ours, theirs), f"seek({offset}, {whence}): ours {ours!r}, io's {theirs!r}"

    async def end(self) -> None:
        """Go to the end, the only place that needs no cookie."""
        ours, theirs = await self.both(lambda: self.ours.seek(0, 2), lambda: self.theirs.seek(0, 2))
        assert same(ours, theirs), f"seek to the end: ours {ours!r}, io's {theirs!r}"

    async def iterate(self, count: int) -> None:
        """Take some lines of the iterators, then let io tell again as ours always can."""

        async def ours() -> list[Any]:
            found = []
            async for line in self.ours:
                found.append(line)
                if len(found) == count:
                    break
            return found

        def theirs() -> list[Any]:
            found = []
            while len(found) < count and (line := self.theirs.readline()):
                found.append(line)
            return found

        mine, builtin = await self.both(ours, theirs)
        assert mine == builtin, f"iteration: ours {mine!r}, io's {builtin!r}"

    async def finish(self) -> None:
        """Close both and compare what lies on the disk."""
        await self.ours.close()
        self.theirs.close()
        assert self.paths[0].read_bytes() == self.paths[1].read_bytes()


def same(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, type) and isinstance(theirs, type):
        return issubclass(ours, theirs) or issubclass(theirs, ours)
    return bool(ours == theirs)


def run_pair(
    folder: Path,
    content: bytes | None,
    mode: str,
    steps: list[tuple[Any, ...]],
    *,
    small: bool = True,
    chunk: int = 0,
    **options: Any,
) -> None:
    """Run `steps` (method name and arguments) on a pair of files.

    `small`: the content is one chunk, so that both must meet what cannot be decoded in the same call. `chunk`: how many
    bytes io decodes at a time, 0 for its own choice; the caller has set ours.
    """

    async def main() -> None:
        pair = Pair(folder, content, mode, **options)
        pair.chunk = chunk
        if not await pair.open():
            return
        try:
            for name, *args in steps:
                if name in ("tell", "seek", "seek_raw", "end", "iterate"):
                    await getattr(pair, name)(*args)
                else:
                    await pair.do(name, *args)
        except Undecodable as error:
            ours = error.args[0]
            assert not small or (isinstance(ours, type) and issubclass(ours, UnicodeError)), ours
        finally:
            await pair.finish()

    asyncio.run(main())
