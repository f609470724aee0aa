"""The server put together: opened in order, closed in the reverse order, whatever fails in between."""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from asyncstore.http import Limits, Server, raise_descriptor_limit
from asyncstore.pool import default_pool

from ._application import Application
from ._keys import Keys, open_environment
from ._metrics import Metrics
from ._options import DEFAULT_ROOT, Options
from ._tree import Tree

__all__ = ("Service",)

_LOG = logging.getLogger("asyncstore.serve")
_OWN_DESCRIPTORS = 256  # beside one socket and one file a client: databases, the loop, the log; arbitrary, ample


class Service:
    """A running ``asyncstore serve``: an asynchronous context manager, see the package.

    Entering raises `OSError` when the root, the data directory or the address cannot be had, and the errors of
    `asyncstore.bdb` when the key store cannot be opened. Leaving finishes the running requests within `Options.grace`.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._stack = AsyncExitStack()
        self._server: Server | None = None

    async def __aenter__(self) -> Self:
        options = self._options
        async with AsyncExitStack() as stack:
            pool = default_pool()
            tree = await pool.run(_open_tree, options, on_discard=Tree.close)
            stack.callback(tree.close)
            environment = await open_environment(options.data)
            if environment is not None:
                stack.push_async_callback(environment.aclose)
            metrics = Metrics()
            keys = Keys(environment, read_only=options.read_only, max_value=options.max_value)
            application = Application(tree, keys, pool, metrics, read_only=options.read_only)
            raise_descriptor_limit(2 * options.max_connections + _OWN_DESCRIPTORS)
            server = Server(
                application,
                limits=_limits(options),
                observer=metrics.observe,
                access_log=options.access_log,
            )
            application.attach(server)
            stack.push_async_callback(server.aclose, options.grace)
            if not options.read_only:
                sweep = asyncio.create_task(_sweep(tree))
                stack.callback(sweep.cancel)
            await server.start(options.host, options.port)
            self._server = server
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, exc, traceback)

    @property
    def server(self) -> Server:
        """The HTTP server; only while running."""
        assert self._server is not None  # entered
        return self._server

    @property
    def url(self) -> str:
        """Where a browser finds it."""
        host, port = self.server.addresses[0]
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  # compared with, not bound to
        return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def _open_tree(options: Options) -> Tree:
    if options.root == DEFAULT_ROOT:  # anything else is the user's word, and a typing error should be seen as one
        os.makedirs(options.root, exist_ok=True)
    os.makedirs(options.data, exist_ok=True)
    return Tree(options.root, dotfiles=options.dotfiles)


def _limits(options: Options) -> Limits:
    return Limits(
        max_body=options.max_body,
        max_connections=options.max_connections,
        idle_timeout=options.idle_timeout,
        head_timeout=options.head_timeout,
        body_timeout=options.body_timeout,
        send_timeout=options.send_timeout,
    )


async def _sweep(tree: Tree) -> None:
    """Clear away what a crash has left, beside everything else."""
    try:
        removed = await default_pool().run(tree.sweep, priority=-4)
    except OSError as exc:
        _LOG.warning("looking for left-over temporary files: %s", exc)
    else:
        if removed:
            _LOG.info("removed %d temporary files that an earlier run had left", removed)
