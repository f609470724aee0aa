"""``/metrics``: what the server counts, in the text format of Prometheus (version 0.0.4)."""

from __future__ import annotations

import os
import resource
import sys
import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping

from asyncstore.http import Exchange, Response, ServerStatistics
from asyncstore.pool import Histogram, PoolStats

__all__ = ("Metrics",)

_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # seconds
_METHODS = frozenset(("GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS"))
_Labels = tuple[tuple[str, str], ...]


class Metrics:
    """Counts answers; `observe` is the server's observer, `render` the page."""

    def __init__(self) -> None:
        self._started = time.time()
        self._requests: dict[tuple[str, str, int], int] = {}
        self._buckets: dict[str, list[int]] = {}
        self._seconds: dict[str, float] = {}

    def observe(self, exchange: Exchange) -> None:
        """Count one answer. The labels come from fixed sets, so their number is bounded whatever clients send."""
        request = exchange.request
        if request is None:
            method, route = "-", "malformed"
        else:
            method = request.method if request.method in _METHODS else "other"
            route = request.route or "unknown"
        key = (method, route, exchange.status)
        self._requests[key] = self._requests.get(key, 0) + 1
        buckets = self._buckets.get(route)
        if buckets is None:
            buckets = self._buckets[route] = [0] * (len(_BOUNDS) + 1)
            self._seconds[route] = 0.0
        buckets[bisect_left(_BOUNDS, exchange.seconds)] += 1
        self._seconds[route] += exchange.seconds

    def render(self, server: ServerStatistics, pool: PoolStats, store: Mapping[str, int]) -> Response:
        """Return the page; `store` holds the counts of the key store, by name."""
        lines: list[str] = []
        lines += self._http()
        lines += _server(server)
        lines += _pool(pool)
        for name, value in store.items():
            kind = "counter" if name.endswith("_total") else "gauge"
            lines += _family(f"asyncstore_bdb_{name}", kind, "See the key store.", [((), value)])
        lines += _process(self._started)
        return Response(
            200,
            (("content-type", "text/plain; version=0.0.4; charset=utf-8"), ("cache-control", "no-store")),
            ("\n".join(lines) + "\n").encode(),
        )

    def _http(self) -> Iterator[str]:
        counts = [
            ((("method", method), ("route", route), ("status", str(status))), count)
            for (method, route, status), count in sorted(self._requests.items())
        ]
        yield from _family("asyncstore_http_requests_total", "counter", "Answers sent.", counts)
        name = "asyncstore_http_request_seconds"
        yield f"# HELP {name} Time from a request's head to the end of its answer."
        yield f"# TYPE {name} histogram"
        for route, buckets in sorted(self._buckets.items()):
            yield from _histogram(name, (("route", route),), zip(_BOUNDS, buckets, strict=False), buckets[-1])
            yield _sample(f"{name}_sum", (("route", route),), self._seconds[route])


def _sample(name: str, labels: _Labels, value: float) -> str:
    shown = ",".join(f'{key}="{text}"' for key, text in labels)  # all of our own making: nothing in them to escape
    return f"{name}{{{shown}}} {value}" if shown else f"{name} {value}"


def _family(name: str, kind: str, text: str, samples: Iterable[tuple[_Labels, float]]) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"
    for labels, value in samples:
        yield _sample(name, labels, value)


def _histogram(name: str, labels: _Labels, buckets: Iterable[tuple[float, int]], beyond: int) -> Iterator[str]:
    total = 0
    for bound, count in buckets:
        total += count
        yield _sample(f"{name}_bucket", (*labels, ("le", f"{bound:g}")), total)
    yield _sample(f"{name}_bucket", (*labels, ("le", "+Inf")), total + beyond)
    yield _sample(f"{name}_count", labels, total + beyond)


def _server(server: ServerStatistics) -> Iterator[str]:
    counters = {
        "accepted": ("Connections accepted.", server.accepted),
        "refused": ("Connections refused for their number.", server.refused),
        "timeouts": ("Connections ended by a time-out.", server.timeouts),
        "received_bytes": ("Bytes received.", server.bytes_received),
        "sent_bytes": ("Bytes sent.", server.bytes_sent),
    }
    yield from _family("asyncstore_http_connections", "gauge", "Connections open now.", [((), server.connections)])
    for name, (text, value) in counters.items():
        yield from _family(f"asyncstore_http_{name}_total", "counter", text, [((), value)])


def _pool(pool: PoolStats) -> Iterator[str]:
    for name in ("queued", "waiting", "running", "workers", "idle"):
        value = getattr(pool, name)
        yield from _family(f"asyncstore_pool_{name}", "gauge", f"Jobs or workers of the pool: {name}.", [((), value)])
    for name in ("done", "dropped", "discarded", "wakeups"):
        value = getattr(pool, name)
        yield from _family(f"asyncstore_pool_{name}_total", "counter", f"Of the pool: {name}.", [((), value)])
    batches = "Results taken home per wake-up of a loop."
    yield from _pool_histogram("asyncstore_pool_batch_jobs", batches, pool.batch_sizes)
    yield from _pool_histogram("asyncstore_pool_wait_seconds", "Time from hand-over to begin.", pool.wait_time)
    yield from _pool_histogram("asyncstore_pool_run_seconds", "Time from begin to end.", pool.run_time)


def _pool_histogram(name: str, text: str, histogram: Histogram) -> Iterator[str]:
    """Buckets double and grow with the highest value seen; sums are not kept, so quantiles are what it offers."""
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} histogram"
    yield from _histogram(name, (), histogram.buckets(), 0)


def _process(started: float) -> Iterator[str]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    cpu = usage.ru_utime + usage.ru_stime
    yield from _family("process_cpu_seconds_total", "counter", "CPU time, user and system.", [((), cpu)])
    yield from _family("process_start_time_seconds", "gauge", "When this began, since the epoch.", [((), started)])
    yield from _family("process_resident_memory_bytes", "gauge", "Memory in use.", [((), _resident(usage.ru_maxrss))])
    descriptors = _descriptors()
    if descriptors is not None:
        yield from _family("process_open_fds", "gauge", "Open file descriptors.", [((), descriptors)])
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    yield from _family("process_max_fds", "gauge", "Limit of open file descriptors.", [((), limit)])


def _resident(peak: int) -> int:
    """Return the resident memory in bytes; where /proc does not tell, its peak (in KiB, on macOS in bytes)."""
    try:
        with open("/proc/self/statm", "rb") as statm:
            return int(statm.read().split()[1]) * resource.getpagesize()
    except OSError:
        return peak if sys.platform == "darwin" else peak * 1024


def _descriptors() -> int | None:
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:  # no /proc: the count cannot be had cheaply
        return None
