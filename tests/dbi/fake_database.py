"""A database that does what a test says: it answers, keeps silent, goes away, or does not become quiet."""

from __future__ import annotations

import asyncio

from asyncstore.dbi import Result, errors
from asyncstore.dbi._async_session import AsyncSession
from asyncstore.dbi._request import Sort


class Operations:
    """Statements are orders to the fake: `sleep`, `fail`, `die`, or anything else, which is answered by itself."""

    async def fetch_value(self, connection, sql, parameters):
        return await connection.answer(sql, parameters)

    async def execute(self, connection, sql, parameters):
        return Result(rows=[await connection.answer(sql, parameters)])

    async def fetch_all(self, connection, sql, parameters):
        return [await connection.answer(sql, parameters)]

    fetch_one = fetch_value

    async def execute_many(self, connection, sql, sets):
        return Result(rowcount=len([await connection.answer(sql, each) for each in sets]))

    async def execute_script(self, connection, text):
        await connection.answer(text, ())


class Dialect:
    kind = "fake"
    operations = Operations()
    stream_alone = False

    def sort_of(self, sql):
        return Sort.ALONE

    def leaves_traces(self, sql):
        return sql.startswith("SET")

    def prepare(self, sql, parameters):
        return sql, parameters

    def prepare_many(self, sql, sets):
        return sql, list(sets)

    def check(self, options):
        pass


class FakeConnection:
    """The driver's connection. Answers come `delay` seconds late; one that was cancelled is left unread."""

    def __init__(self, database, number):
        self.database = database
        self.number = number
        self.alive = True
        self.unread = []  # answers on their way, of whoever asked
        self.log = []

    async def answer(self, sql, parameters):
        if not self.alive:
            raise ConnectionResetError("gone")
        if self.unread:
            return self.unread.pop(0)  # as real ones do: the next one reads what the one before has left
        self.log.append(sql)
        if sql == "die":
            self.alive = False
            raise ConnectionResetError("gone")
        if sql == "fail":
            raise ValueError("refused")
        if sql == "sleep" or self.database.silent:
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                self.unread.append("somebody else's")
                raise
        await asyncio.sleep(0)
        return (sql, self.number)


class FakeSession(AsyncSession):
    ended = ""

    def translate(self, exc, request):
        if isinstance(exc, ConnectionError):
            return errors.ConnectionLost(str(exc), doing=request.doing, of=request.title)
        return errors.ProgrammingError(str(exc), doing=request.doing, of=request.title)

    async def mend(self, request):
        self.connection.log.append("mend")
        if self.connection.database.restless:
            await asyncio.get_running_loop().create_future()
        await asyncio.sleep(0)
        self.connection.unread.clear()

    def lost(self):
        return not self.connection.alive

    def begin(self, options):
        return lambda connection: connection.answer("BEGIN", ())

    def end(self, word):
        return lambda connection: connection.answer(word, ())

    def reset(self):
        return lambda connection: connection.answer("reset", ())

    async def leave(self):
        self.connection.log.append("leave")

    def cut(self):
        self.connection.alive = False


class FakeDatabase:
    """What a pool is given; `connections` are all that were ever opened."""

    title = "a fake"
    shared = False
    remote = True

    def __init__(self):
        self.dialect = Dialect()
        self.connections = []
        self.refuses = False
        self.silent = False
        self.restless = False

    async def connect(self, *, lock_timeout, workers):
        await asyncio.sleep(0)
        if self.refuses:
            raise errors.OperationalError("refused", doing="connect", of=self.title)
        connection = FakeConnection(self, len(self.connections))
        self.connections.append(connection)
        return FakeSession(self.dialect, self.title, connection)

    @property
    def alive(self):
        return [connection.number for connection in self.connections if connection.alive]
