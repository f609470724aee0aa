"""Functions that read and write several records as one: a transaction for the price of a put.

A transaction in coroutines costs a hop to a worker for each of its steps. A function that does not wait for anything
else needs one for all of them, and shares the group commit with whatever is written at the same time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from asyncstore.bdb import _operations as ops, errors
from asyncstore.bdb._library import LIBDB_ERRORS
from asyncstore.bdb._operations import REFUSALS, UserError
from asyncstore.bdb._request import Operation, Request
from asyncstore.bdb._store import State
from asyncstore.bdb._translate import translate
from asyncstore.pool import Usage

if TYPE_CHECKING:
    from asyncstore.bdb._core import Core
    from asyncstore.bdb._database import Database

__all__ = ("ATOMIC", "AtomicOwner", "View")

K = TypeVar("K", bytes, int)


class View:
    """What a function given to `Environment.atomically` reads and writes through, while it runs.

    The methods mean what those of `Database` do, for the database that they are given, and raise the same errors. One
    that is refused (`KeyExists`) has changed nothing, and the function may go on.
    """

    __slots__ = ("_environment", "_failure", "_txn")

    # Any: the transaction is the binding's.
    def __init__(self, environment: Core, txn: Any) -> None:
        self._environment = environment
        self._txn = txn
        self._failure: BaseException | None = None

    def get(self, database: Database[K], key: K) -> bytes | None:
        """Return the value of `key`, None when there is none."""
        database.check_key(key)
        found: bytes | None = self._do(database, ops.GET, key)
        return found

    def get_all(self, database: Database[K], key: K) -> list[bytes]:
        """Return all values of `key`."""
        database.check_key(key)
        found: list[bytes] = self._do(database, ops.GET_ALL, key)
        return found

    def exists(self, database: Database[K], key: K) -> bool:
        """Return whether there is a record of `key`."""
        database.check_key(key)
        return bool(self._do(database, ops.EXISTS, key))

    def put(self, database: Database[K], key: K, value: bytes, *, overwrite: bool = True) -> None:
        """Store `value` under `key`."""
        database.check_record(key, value)
        self._do(database, database.put_operation if overwrite else ops.PUT_NEW_KEY, key, value)

    def delete(self, database: Database[K], key: K, value: bytes | None = None) -> bool:
        """Remove the record of `key`, with all its values or the one given; return whether there was one."""
        database.check_key(key)
        return bool(self._do(database, ops.DELETE if value is None else ops.DELETE_PAIR, key, value))

    def append(self, database: Database[K], value: bytes) -> K:
        """Store `value` in a database of numbers or a heap; return its number or id."""
        if database.type not in ("recno", "queue", "heap"):
            raise errors.Misuse(doing="append", of=database.title, detail=f"a {database.type} is not appended to")
        database.check_value(value)
        number: K = self._do(database, ops.APPEND, None, value)
        return number

    def _do(self, database: Database[Any], operation: Operation, key: Any, argument: Any = None) -> Any:
        if self._txn is None:
            raise errors.TransactionEnded(doing=operation.name, of=database.title, detail="its function has returned")
        if database.environment is not self._environment:
            raise errors.Misuse(doing=operation.name, of=database.title, detail="it is of another environment")
        if database.state is State.CLOSED:
            raise errors.Closed(doing=operation.name, of=database.title)
        try:
            return operation.apply(database.handle, self._txn, Request(database, operation, key, argument))
        except REFUSALS as exc:
            raise translate(exc, doing=operation.name, of=database.title) from exc
        except LIBDB_ERRORS as exc:
            self._failure = exc  # also when the function swallows it
            raise

    def finish(self) -> None:
        """Refuse what comes after, and raise what the function was not to swallow. For `ATOMIC`."""
        self._txn = None
        if self._failure is not None:
            raise self._failure


class AtomicOwner:
    """What the requests of `Environment.atomically` are made of."""

    handle: Any = None
    guarded = True  # there may be indices

    def __init__(self, title: str) -> None:
        self.title = title
        self.usage = Usage()


def _atomic(_handle: Any, txn: Any, request: Request) -> Any:
    environment: Core
    function: Callable[..., Any]
    environment, function, arguments = request.argument
    view = View(environment, txn)
    try:
        result = function(view, *arguments)
    except LIBDB_ERRORS:
        raise
    except Exception as exc:
        view.finish()
        raise UserError(exc) from exc
    view.finish()
    return result


ATOMIC = Operation("atomically", _atomic, writes=True)
