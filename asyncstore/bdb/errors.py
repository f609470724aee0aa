"""Errors of Berkeley DB: one class for each that a caller can act on; the binding's own exception is the cause.

The numbers below zero are libdb's (db.h of 5.3), those above are the system's.
"""

from __future__ import annotations

import errno as system
from typing import Any, ClassVar, cast

from asyncstore import errors as shared

__all__ = (
    "AccessDenied",
    "AlreadyOpen",
    "BadDump",
    "CallbackFailed",
    "Closed",
    "Corrupt",
    "Deadlock",
    "DiskFull",
    "Error",
    "FileExists",
    "HandleDead",
    "IOFailure",
    "InUse",
    "InvalidArgument",
    "JoinFailed",
    "KeyEmpty",
    "KeyExists",
    "LeaseExpired",
    "LockTimeout",
    "LogBufferFull",
    "Misuse",
    "NeedsRecovery",
    "NoMaster",
    "NoSuchFile",
    "NotFound",
    "NotMaster",
    "NotReplicated",
    "OutOfMemory",
    "SequenceExhausted",
    "TransactionEnded",
    "TransactionTimeout",
    "WrongVersion",
)


class Error(shared.Error):
    """Base of all Berkeley DB errors, and the class of those that have none of their own.

    `doing` is what was being done, `of` to what, `code` the number of libdb or of the system (0: none), `detail` what
    the library said of it.
    """

    sentence: ClassVar[str] = "Berkeley DB reports an error"
    by_code: ClassVar[dict[int, type[Error]]] = {}

    def __init_subclass__(cls, *, codes: tuple[int, ...] = ()) -> None:
        super().__init_subclass__()
        for code in codes:
            Error.by_code[code] = cls

    def __init__(self, *, doing: str, of: str, code: int = 0, detail: str = "") -> None:
        self.doing = doing
        self.of = of
        self.code = code
        self.detail = detail
        said = "" if not detail else f" (libdb: {detail})" if code else f": {detail}"
        super().__init__(f"{doing} {of}: {self.sentence}{said}")
        if code > 0 and isinstance(cast("object", self), OSError):
            cast("Any", self).errno = code  # Any: only the subclasses that are OSErrors too have the field

    def __str__(self) -> str:
        return str(self.args[0])  # not OSError's, which would print the number in front

    def __reduce__(self) -> tuple[Any, ...]:
        fields = {"doing": self.doing, "of": self.of, "code": self.code, "detail": self.detail}
        return _rebuild, (type(self), fields), {"maybe_applied": self.maybe_applied}


def _rebuild(kind: type[Error], fields: dict[str, Any]) -> Error:
    return kind(**fields)


class Closed(Error, shared.Closed):
    """The environment or the database was used after `aclose`."""

    sentence = "it has been closed"


class Misuse(Error, RuntimeError):
    """The call cannot be right: another event loop's object, or two tasks in one iterator."""

    sentence = "this is not possible here"


class TransactionEnded(Misuse):
    """The transaction was committed or aborted before, or gave way in a deadlock."""

    sentence = "the transaction has ended"


class TransactionTimeout(TransactionEnded, TimeoutError):
    """The time that the transaction was given is over, and it has been undone."""

    sentence = "the transaction took longer than it was given, and has been undone"
    retryable = True


class CallbackFailed(Error):
    """A function of yours that libdb called (a key extractor, a comparison) raised; its exception is the cause.

    The operation was undone.
    """

    sentence = "a function of the caller's failed, and the operation was undone"


class AlreadyOpen(Error, shared.Busy):
    """This process has the environment open already: libdb registers a process once for each environment."""

    sentence = "this process has the environment open already; share that object, or close it first"


class Deadlock(Error, shared.Busy, codes=(-30993,)):
    """Two transactions waited for each other and this one was chosen to give way; it has been undone."""

    sentence = "gave way in a deadlock; the same call can succeed when made again"


class LockTimeout(Error, TimeoutError, codes=(-30992,)):
    """A lock was not had in time, or not at once where that was asked for."""

    sentence = "a lock was not granted in time"
    retryable = True


class KeyExists(Error, codes=(-30994,)):
    """The key is there already and was not to be overwritten."""

    sentence = "the key exists already"


class KeyEmpty(Error, LookupError, codes=(-30995,)):
    """The record was deleted, or its number was never used."""

    sentence = "the record is empty"


class NotFound(Error, LookupError, codes=(-30988,)):
    """There is no such record."""

    sentence = "no such record"


class NeedsRecovery(Error, shared.Broken, codes=(-30973,)):
    """The environment is unusable until it is opened anew: a process died inside it, or libdb met a fatal error.

    Close it in every process and open it again; opening runs recovery. Nothing acknowledged is lost.
    """

    sentence = "the environment must be closed and opened again, which runs recovery"


class Corrupt(Error, shared.Broken, codes=(-30970, -30986, -30990)):
    """A database or log file does not hold what it should."""

    sentence = "the file is damaged or is no Berkeley DB file"


class WrongVersion(Error, codes=(-30987, -30969)):
    """The files were written by another version of libdb."""

    sentence = "the files belong to another version of libdb; upgrade a copy of them with db_upgrade"


class DiskFull(Error, OSError, codes=(system.ENOSPC, system.EDQUOT, system.EFBIG)):
    """No room for the log or the database: disk full, quota or file-size limit reached. The write was undone.

    The environment stays usable: reads go on, and writes succeed again once there is room.
    """

    sentence = "there is no room left on the disk, in the quota or under the file-size limit"
    retryable = True


class AccessDenied(Error, PermissionError, codes=(system.EACCES, system.EPERM, system.EROFS)):
    """The system does not let this process read or write a file of the environment."""

    sentence = "permission denied"


class NoSuchFile(Error, FileNotFoundError, codes=(system.ENOENT,)):
    """The home directory or the database does not exist and was not to be created."""

    sentence = "no such file or directory"


class FileExists(Error, FileExistsError, codes=(system.EEXIST,)):
    """The file exists and was not to be."""

    sentence = "the file exists already"


class InUse(Error, shared.Busy, codes=(system.EBUSY, system.EAGAIN)):
    """Somebody else is using it; trying again later can succeed."""

    sentence = "it is in use"


class OutOfMemory(Error, MemoryError, codes=(system.ENOMEM,)):
    """A fixed table of the environment is full (its cache, its locks), or the system is out of memory.

    The usual cure is a larger `cache_size`, or fewer and smaller records in one transaction.
    """

    sentence = "a table of the environment is full (locks, cache) or memory is short"


class LogBufferFull(Error, codes=(-30991,)):
    """A transaction does not fit into the log buffer of an environment in memory; it must be aborted.

    The cure is smaller transactions or a larger `log_buffer`.
    """

    sentence = "the transaction is larger than the log buffer in memory"


class NotMaster(Error, shared.Busy):
    """A write was sent to a site that is not the master of its replication group, or is not any more."""

    sentence = "this site is not the master of its replication group"


class NoMaster(Error, shared.Busy, codes=(-30975, -30978)):
    """The site found no master in time, or is still catching up with it; the same call can succeed later."""

    sentence = "no master was found, or this site has not caught up with it yet"


class LeaseExpired(Error, shared.Busy, codes=(-30979,)):
    """A master with leases is not sure to be the master still, and so reads nothing."""

    sentence = "the master's lease has run out; the same call can succeed when the others are reached again"


class JoinFailed(Error, codes=(-30980,)):
    """The site's log reaches back too little, and `auto_init` is off: give it a backup of the master's home."""

    sentence = "the site cannot catch up with its master, and is not to be given all files anew"


class NotReplicated(Error, TimeoutError):
    """The write is committed here, but too few other sites acknowledged it in time (the acknowledgement policy).

    It will be replicated unless this site is lost first: `maybe_applied` is true.
    """

    sentence = "committed here, but not acknowledged by as many sites as the policy asks for"
    maybe_applied = True


class HandleDead(Error, shared.Busy, codes=(-30984,)):
    """A new master undid what this site had committed alone, so that its open databases have to be opened anew."""

    sentence = "a change of masters has made the open database stale; open it again"


class BadDump(Error, ValueError):
    """What was to be loaded is no dump, or a damaged one; `detail` names the line."""

    sentence = "it is not what db_dump writes"


class SequenceExhausted(Error, LookupError):
    """A sequence that does not wrap around has no more numbers."""

    sentence = "the sequence has no more numbers"


class InvalidArgument(Error, ValueError, codes=(system.EINVAL,)):
    """libdb refuses the arguments."""

    sentence = "libdb refuses the arguments"


class IOFailure(Error, OSError, codes=(system.EIO,)):
    """The system failed to read or write a file of the environment, or any other way that has no class here."""

    sentence = "the system reports an error"
