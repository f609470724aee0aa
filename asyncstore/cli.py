"""The command line: ``asyncstore COMMAND``. Each command loads only what it needs."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from asyncstore import __version__

__all__ = ("main",)

_Program = Callable[[Sequence[str]], int]
_COMMANDS = {
    "serve": "serve files and keys over HTTP",
    "bdb": "look after Berkeley DB environments: stat, verify, dump, load, backup, recover, compact",
    "doctor": "say what this machine offers: io_uring, page-cache reads, libdb, drivers, limits",
}
_EXTRAS = {"serve": "http", "bdb": "bdb"}  # what a command needs


def _load(command: str) -> _Program:
    """Import the program behind `command`: the package of that name in `asyncstore.apps`."""
    program: _Program = import_module(f"asyncstore.apps.{command}").main
    return program


def _parser() -> argparse.ArgumentParser:
    listed = "\n".join(f"  {name:8} {text}" for name, text in _COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="asyncstore",
        description="The data layer of an asyncio program, and the programs that come with it.",
        epilog=f"commands:\n{listed}\n\n'asyncstore COMMAND --help' tells the options of each.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"asyncstore {__version__}")
    parser.add_argument("command", choices=tuple(_COMMANDS), metavar="COMMAND", help="what to do, see below")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="...", help="options of the command")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line with `argv` (default: the process' own); return the exit status.

    Exits with 2 for arguments that make no sense, as argparse does; returns 130 after Ctrl-C.
    """
    given = sys.argv[1:] if argv is None else list(argv)
    try:
        # The command's own options must reach it untouched, so only what stands before it is parsed here.
        position = next((index for index, text in enumerate(given) if not text.startswith("-")), len(given))
        chosen = _parser().parse_args(given[: position + 1])
        try:
            program = _load(chosen.command)
        except ImportError as exc:
            extra = _EXTRAS.get(chosen.command, "all")
            print(f"asyncstore {chosen.command}: {exc}; pip install 'asyncstore[{extra}]' may help", file=sys.stderr)
            return 1
        return program(given[position + 1 :])
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever read our output has had enough; the flush at the end must not complain again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


if __name__ == "__main__":
    sys.exit(main())
