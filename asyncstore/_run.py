"""`run()`: the entry of a program.

Nothing is imported above the call, neither asyncio nor typing: each costs more than all that ``import asyncstore``
loads, and whoever only wants the version or one synchronous module must not pay for them.
"""

from __future__ import annotations

TYPE_CHECKING = False  # type checkers take the name for true; importing typing for it would cost 4 ms
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine
    from typing import Any, TypeVar

    T = TypeVar("T")


def run(
    coro: Coroutine[Any, Any, T],
    *,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
    debug: bool | None = None,
) -> T:
    """Run `coro` on a new event loop until it is done, and return its result.

    `loop_factory` makes the loop (for example ``uvloop.new_event_loop``); None takes the loop that asyncio makes by
    default. No event-loop policy is installed. `debug` switches asyncio's debug mode on or off; None leaves it to
    ``PYTHONASYNCIODEBUG`` and ``-X dev``.

    Raises what `coro` raises; `RuntimeError` when a loop already runs in this thread; `ValueError` when `coro` is no
    coroutine (`TypeError` from CPython 3.14 on). Ctrl-C cancels the main task and raises `KeyboardInterrupt` once it
    has ended. Tasks that are left over are cancelled and awaited, asynchronous generators and the default executor are
    shut down, and the loop is closed, whatever the outcome (`asyncio.Runner`).
    """
    import asyncio

    with asyncio.Runner(debug=debug, loop_factory=loop_factory) as runner:
        return runner.run(coro)
