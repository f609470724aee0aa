"""The options of ``asyncstore bdb``."""

from __future__ import annotations

import argparse
import datetime as dt

__all__ = ("parser",)

EPILOG = """
HOME is the directory of an environment. stat, dump, load, backup and compact work beside other processes that have it
open; verify, recover and restore want it to themselves. The exit status is 0, 1 for what failed or is damaged, 2 for
arguments that make no sense.
"""


def _moment(text: str) -> dt.datetime:
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"no moment like 2026-11-23T18:30:00: {text!r}") from None
    return moment.astimezone()


def _percent(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 100:
        raise argparse.ArgumentTypeError(f"not 1 to 100: {text!r}")
    return int(text)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line behind ``asyncstore bdb``."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--password-file", metavar="FILE", help="the password of an encrypted environment is in FILE")
    common.add_argument("--log-dir", metavar="DIR", help="where the log files are, relative to HOME")
    common.add_argument("-q", "--quiet", action="store_true", help="no progress bar, which a terminal gets otherwise")
    top = argparse.ArgumentParser(
        prog="asyncstore bdb",
        description="Look after Berkeley DB environments.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=text, parents=[common], allow_abbrev=False)

    _add_looks(command("stat", "print counts of the environment and of its databases"))
    one = command("verify", "check every page of all databases, or of one database file")
    one.add_argument("home", metavar="HOME|FILE")
    one.add_argument(
        "--no-order", action="store_true", help="leave out the order of keys, which a program may have made its own"
    )
    one = command("dump", "write a database as text that db_load reads")
    _add_database(one)
    one.add_argument("-o", "--output", metavar="DUMP", help="write to this file, when all is dumped (default: stdout)")
    one.add_argument("-p", "--printable", action="store_true", help="leave ASCII characters readable")
    one = command("load", "make databases of what dump or db_dump wrote")
    one.add_argument("home", metavar="HOME")
    one.add_argument("name", metavar="NAME", nargs="?", help="the database (default: as the dump says)")
    one.add_argument("--file", help="the file of the home that has, or gets, several databases")
    one.add_argument("-i", "--input", metavar="DUMP", help="read this file (default: stdin)")
    one.add_argument("-n", "--keep", action="store_true", help="keep records of keys that are there already")
    one = command("backup", "copy an environment that is in use")
    one.add_argument("home", metavar="HOME")
    one.add_argument("target", metavar="TARGET", help="a directory that is missing or empty")
    one.add_argument("-u", "--update", action="store_true", help="bring the backup in TARGET up to date by its log")
    one = command("restore", "make an environment out of a backup")
    one.add_argument("backup", metavar="BACKUP")
    one.add_argument("home", metavar="HOME", help="a directory that is missing or empty")
    _add_until(one)
    one = command("recover", "bring the databases to where the log ends")
    one.add_argument("home", metavar="HOME")
    one.add_argument("-c", "--catastrophic", action="store_true", help="from all log files, after databases were lost")
    _add_until(one)
    one = command("compact", "gather records into fewer pages, and return the rest to the file system")
    _add_database(one)
    one.add_argument("--fill", metavar="PERCENT", type=_percent, default=0, help="how full (default: as can be)")
    one = command("salvage", "write what can be read of a damaged database file as a dump")
    one.add_argument("path", metavar="FILE")
    one.add_argument("output", metavar="DUMP")
    one.add_argument("-R", "--aggressive", action="store_true", help="take whatever looks like a record")
    one.add_argument("-p", "--printable", action="store_true", help="leave ASCII characters readable")
    one = command("upgrade", "bring a database file of an older version to this one's format, in place")
    one.add_argument("path", metavar="FILE")
    return top


def _add_looks(one: argparse.ArgumentParser) -> None:
    one.add_argument("home", metavar="HOME")
    one.add_argument("name", metavar="NAME", nargs="*", help="databases (default: all files, and the environment)")
    one.add_argument("--file", help="the file of the home that has several databases")
    one.add_argument("--fast", action="store_true", help="only what is known without reading all pages")
    one.add_argument("--json", action="store_true", help="as JSON")


def _add_database(one: argparse.ArgumentParser) -> None:
    one.add_argument("home", metavar="HOME")
    one.add_argument("name", metavar="NAME", help="the database")
    one.add_argument("--file", help="the file of the home that has several databases")


def _add_until(one: argparse.ArgumentParser) -> None:
    one.add_argument(
        "--until",
        metavar="TIME",
        type=_moment,
        help="to this moment instead, like 2026-11-23T18:30:00",
    )
