"""The options of ``asyncstore serve``: what there is, what it means, what it may be."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ("DEFAULT_DATA", "DEFAULT_ROOT", "Options", "parse", "parser")

DEFAULT_ROOT = "data/files"
DEFAULT_DATA = "data/kv"
_SIZE = re.compile(r"(\d{1,15})([KMGT]?)(?:iB|B)?", re.IGNORECASE)
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to serve. Sizes are bytes, times are seconds."""

    root: str = DEFAULT_ROOT
    data: str = DEFAULT_DATA
    host: str = "127.0.0.1"
    port: int = 8080
    loop: str = "auto"
    max_body: int = 1 << 30
    max_value: int = 16 << 20
    max_connections: int = 1000
    idle_timeout: float = 60.0
    head_timeout: float = 10.0
    body_timeout: float = 20.0
    send_timeout: float = 30.0
    grace: float = 10.0
    read_only: bool = False
    dotfiles: bool = False
    log_level: str = "warning"
    access_log: bool = False


def _size(text: str) -> int:
    match = _SIZE.fullmatch(text.strip())
    if match is None or int(match[1]) == 0:
        message = f"not a size: {text!r} (for example 500K, 64M, 2G)"
        raise argparse.ArgumentTypeError(message)
    return int(match[1]) * _UNITS[match[2].upper()]


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        message = f"not a port: {text!r} (0 to 65535; 0 takes a free one)"
        raise argparse.ArgumentTypeError(message)
    return int(text)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        message = f"not a count of at least 1: {text!r}"
        raise argparse.ArgumentTypeError(message)
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1e9:
        message = f"not a time in seconds above 0: {text!r}"
        raise argparse.ArgumentTypeError(message)
    return value


def parser() -> argparse.ArgumentParser:
    """Return the parser of ``asyncstore serve``; its defaults are those of `Options`."""
    usual = Options()
    arguments = argparse.ArgumentParser(
        prog="asyncstore serve",
        description="Serve files and keys over HTTP/1.1. Open the printed address in a browser to see what is there.",
        epilog="SIGTERM and Ctrl-C finish the running requests and close the key store; a second one drops them.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = arguments.add_argument
    add("--root", default=usual.root, metavar="DIR", help="directory of the files; made when it is the default")
    add("--data", default=usual.data, metavar="DIR", help="directory of the Berkeley DB environment; made when missing")
    add("--host", default=usual.host, help="address to listen on; the default is reachable from this machine only")
    add("--port", default=usual.port, type=_port, help="port to listen on; 0 takes a free one")
    add("--loop", default=usual.loop, choices=("auto", "asyncio", "uvloop"), help="event loop; auto: uvloop if there")
    add("--read-only", action="store_true", help="refuse every change")
    add("--dotfiles", action="store_true", help="serve names that begin with a dot as well")
    limits = arguments.add_argument_group("limits")
    add = limits.add_argument
    add("--max-body", default=usual.max_body, type=_size, metavar="SIZE", help="largest file that is taken")
    add("--max-value", default=usual.max_value, type=_size, metavar="SIZE", help="largest value of a key")
    add("--max-connections", default=usual.max_connections, type=_count, metavar="N", help="clients at the same time")
    add("--idle-timeout", default=usual.idle_timeout, type=_seconds, metavar="SECONDS", help="between two requests")
    add("--head-timeout", default=usual.head_timeout, type=_seconds, metavar="SECONDS", help="for a request's head")
    add("--body-timeout", default=usual.body_timeout, type=_seconds, metavar="SECONDS", help="for a body to move on")
    add(
        "--send-timeout", default=usual.send_timeout, type=_seconds, metavar="SECONDS", help="for a client to take some"
    )
    add("--grace", default=usual.grace, type=_seconds, metavar="SECONDS", help="for running requests at the end")
    log = arguments.add_argument_group("log (to standard error)")
    levels = ("debug", "info", "warning", "error")
    log.add_argument("--log-level", default=usual.log_level, choices=levels, help="what is logged")
    log.add_argument("--access-log", action="store_true", help="log a line for each answer")
    return arguments


def parse(argv: Sequence[str]) -> Options:
    """Return the options in `argv`; a wrong one prints a message and exits with status 2."""
    return Options(**vars(parser().parse_args(argv)))
