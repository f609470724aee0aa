"""The program: reads its options, serves until it is told to stop, and says by its exit status how it went."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Callable, Sequence

from asyncstore.errors import Error

from ._options import Options, parse
from ._service import Service

__all__ = ("main",)


def main(argv: Sequence[str]) -> int:
    """Run ``asyncstore serve`` with the arguments `argv`; return its exit status.

    0 after an orderly stop (SIGTERM, SIGINT), 1 when it could not start or lost its key store. Wrong arguments exit
    with 2.
    """
    options = parse(argv)
    logging.basicConfig(
        level=options.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    if options.access_log:
        logging.getLogger("asyncstore.http.access").setLevel(logging.INFO)
    try:
        factory = _loop_factory(options.loop)
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(_serve(options))
    except (OSError, Error, ImportError) as exc:
        print(f"asyncstore serve: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # before the handlers were in place, or the second one
        return 130


def _loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    if name != "asyncio":
        try:
            import uvloop
        except ImportError:
            if name == "uvloop":
                raise
        else:
            return uvloop.new_event_loop
    return asyncio.new_event_loop


async def _serve(options: Options) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    main_task = asyncio.current_task()
    assert main_task is not None  # Runner runs it as one

    def on_signal() -> None:
        if stop.is_set():  # told twice: drop what is running
            main_task.cancel()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    try:
        async with Service(options) as service:
            print(f"serving {options.root} and {options.data} on {service.url}", flush=True)
            await stop.wait()
            print("stopping", flush=True)
    except asyncio.CancelledError:
        if not stop.is_set():
            raise
        print("stopped at once", flush=True)
    return 0
