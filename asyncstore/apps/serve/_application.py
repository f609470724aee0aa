"""The application: which path is answered by what, and what holds for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from asyncstore.http import HTTPError, Request, Response, Server
from asyncstore.pool import Pool

from . import _files, _keys
from ._files import Files
from ._keys import Keys
from ._metrics import Metrics
from ._pages import front_page, json_response
from ._tree import Tree

__all__ = ("Application",)

_READ_METHODS = ("GET", "HEAD", "OPTIONS")
_CHECK_TIMEOUT = 2.0  # seconds: a check that takes longer is a failed one


class Application:
    """Answers requests; see `__call__`. `tree` and `keys` stay their makers' to close."""

    def __init__(self, tree: Tree, keys: Keys, pool: Pool, metrics: Metrics, *, read_only: bool) -> None:
        self._pool = pool
        self._tree = tree
        self._keys = keys
        self._files = Files(tree, pool, read_only=read_only)
        self._metrics = metrics
        self._read_only = read_only
        self._server: Server | None = None
        self._routes: dict[str, Callable[[Request], Response | Awaitable[Response]]] = {
            "/": self._front,
            "/healthz": self._health,
            "/metrics": self._render_metrics,
        }

    def attach(self, server: Server) -> None:
        """Say which server's counters the metrics tell."""
        self._server = server

    def __call__(self, request: Request) -> Response | Awaitable[Response]:
        """Answer `request`: the application that `Server` wants."""
        if request.method not in _READ_METHODS:
            _refuse_foreign_origin(request)
        path = request.path
        if path.startswith(_files.PREFIX):
            request.route = "files"
            return self._files.answer(request)
        if path == _keys.PREFIX or path.startswith(_keys.PREFIX + "/"):
            request.route = "kv"
            return self._keys.answer(request)
        route = self._routes.get(path)
        if route is not None:
            request.route = path
            return self._read(request, route)
        if path == "*" and request.method == "OPTIONS":
            request.route = "*"
            return Response(204, (("allow", "GET, HEAD, PUT, POST, DELETE, OPTIONS"),))
        if path == "/files":
            request.route = "files"
            return Response(308, (("location", _files.PREFIX),))
        raise HTTPError(404, "there is nothing here; / says what there is")

    @staticmethod
    def _read(
        request: Request, route: Callable[[Request], Response | Awaitable[Response]]
    ) -> Response | Awaitable[Response]:
        allow = ("allow", ", ".join(_READ_METHODS))
        if request.method == "OPTIONS":
            return Response(204, (allow,))
        if request.method not in _READ_METHODS:
            raise HTTPError(405, f"{request.method} is not possible here", (allow,))
        return route(request)

    def _front(self, request: Request) -> Response:
        return front_page(
            authority=request.text_header(b"host") or "localhost",
            databases=self._keys.names(),
            kv_problem=self._keys.problem,
            writable=not self._read_only,
        )

    async def _health(self, request: Request) -> Response:  # noqa: ARG002  # every route has the same signature
        """Check what the server stands on: that the root can be listed by a worker and the key store is open."""
        checks: dict[str, str] = {}
        try:
            async with asyncio.timeout(_CHECK_TIMEOUT):
                await self._pool.run(self._tree.list, (), b"", 1)
            checks["files"] = "ok"
        except TimeoutError:
            checks["files"] = f"no answer within {_CHECK_TIMEOUT:g} seconds"
        except OSError as exc:
            checks["files"] = exc.strerror or "failed"
        environment = self._keys.environment
        if environment is None:
            checks["keys"] = "not installed"
        else:
            checks["keys"] = "ok" if environment.state.value == "open" else environment.state.value
        healthy = checks["files"] == "ok" and checks["keys"] in ("ok", "not installed")
        return json_response({"status": "ok" if healthy else "failing", "checks": checks}, 200 if healthy else 503)

    def _render_metrics(self, request: Request) -> Response:  # noqa: ARG002  # every route has the same signature
        if self._server is None:
            raise HTTPError(503, "the server is starting")
        store: dict[str, int] = {}
        environment = self._keys.environment
        if environment is not None:
            counts = environment.statistics()
            store = {
                "reads_total": counts.reads,
                "writes_total": counts.writes,
                "commits_total": counts.commits,
                "checkpoints_total": counts.checkpoints,
                "pending": counts.pending,
                "databases": counts.databases,
            }
        return self._metrics.render(self._server.statistics, self._pool.stats(), store)


def _refuse_foreign_origin(request: Request) -> None:
    """Refuse a change that a page of another site asks a browser for (cross-site request forgery).

    Browsers say where a request comes from (Origin) whenever it changes something; programs do not, and pass.
    """
    origin = request.text_header(b"origin")
    if origin is None:
        return
    host = (request.text_header(b"host") or "").lower()
    if origin == "null" or urlsplit(origin).netloc.lower() != host:
        raise HTTPError(403, "changes can only be asked for from pages of this server")
