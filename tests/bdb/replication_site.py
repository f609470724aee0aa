"""A site of a replication group in a process of its own, for test_replication.py to command and to kill.

Lines of JSON go both ways: commands [name, *arguments] come in on stdin; answers {"answer": ...} or {"error": [class,
message]} and events {"event": name, "site": number} go out on stdout.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import threading
from typing import Any

from asyncstore.bdb import _rep_settings, _replication
from asyncstore.bdb._library import LIBDB_ERRORS, db
from asyncstore.bdb._rep_events import Event, Events, RepEvent

FLAGS = db.DB_CREATE | db.DB_INIT_MPOOL | db.DB_INIT_TXN | db.DB_INIT_LOG | db.DB_INIT_LOCK | db.DB_RECOVER
SILENT = {RepEvent.CONNECT_TRY_FAILED, RepEvent.CONNECT_ESTABLISHED}  # nobody reads on while a site is not commanded


def say(**message: Any) -> None:
    """Write one line in one piece: libdb's threads speak too."""
    os.write(1, json.dumps(message).encode() + b"\n")


def report(event: Event) -> None:
    if event.kind not in SILENT:
        say(event=event.kind.name, site=event.site)


class SiteProcess:
    """The commands, each a method."""

    def __init__(self, home: str, settings: _rep_settings.Replication) -> None:
        self.settings = settings
        self.events = Events()
        self.events.subscribe(report)
        self.handle: Any = db.DBEnv()
        self.events.attach(self.handle)
        _replication.configure(self.handle, settings)
        self.handle.set_lk_detect(db.DB_LOCK_MINWRITE)
        self.handle.open(home, FLAGS | db.DB_REGISTER | _replication.open_flags())
        self.database: Any = None

    def start(self) -> None:
        _replication.start(self.handle, self.settings)

    def open(self, create: bool) -> None:
        if self.database is not None:
            self.database.close()
        self.database = db.DB(self.handle)
        flags = db.DB_AUTO_COMMIT | db.DB_THREAD | (db.DB_CREATE if create else 0)
        self.database.open("data", dbtype=db.DB_BTREE, flags=flags)

    def put(self, key: str, value: str) -> bool:
        """Store, and tell whether the commit was left unacknowledged."""
        self.events.begin_commit()
        self.database.put(key.encode(), value.encode())
        return self.events.take_unacknowledged()

    def put_on_a_thread(self, key: str, value: str) -> list[bool]:
        """Store on another thread, and tell what it and what this one know of an unacknowledged commit."""
        self.events.begin_commit()
        told: list[bool] = []
        writer = threading.Thread(target=lambda: told.append(self.put(key, value)))
        writer.start()
        writer.join()
        return [*told, self.events.take_unacknowledged()]

    def get(self, key: str) -> str | None:
        found = self.database.get(key.encode())
        return None if found is None else found.decode()

    def checkpoint(self) -> bool:
        """Make a checkpoint, and tell whether it was left unacknowledged."""
        self.events.begin_commit()
        self.handle.txn_checkpoint(0, 0, db.DB_FORCE)
        return self.events.take_unacknowledged()

    def status(self) -> dict[str, Any]:
        found = dataclasses.asdict(_replication.status(self.handle))
        return {**found, "role": found["role"].value}

    def set_priority(self, priority: int) -> None:
        _replication.set_priority(self.handle, priority)

    def set_acks(self, acks: _rep_settings.Acks) -> None:
        _replication.set_acks(self.handle, acks)

    def set_ack_timeout(self, seconds: float) -> None:
        self.handle.rep_set_timeout(db.DB_REP_ACK_TIMEOUT, round(seconds * 1e6))

    def close(self) -> None:
        if self.database is not None:
            self.database.close()
        self.handle.close()


def main() -> None:
    home, text = sys.argv[1:]
    given = json.loads(text)
    given["local"], given["peers"] = tuple(given["local"]), tuple(map(tuple, given["peers"]))
    site = SiteProcess(home, _rep_settings.Replication(**given))
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        try:
            say(answer=getattr(site, name)(*arguments))
        except LIBDB_ERRORS as exc:
            say(error=[type(exc).__name__, str(exc)])
    os._exit(0)  # the parent is gone, or is done with a site whose handle it has closed


if __name__ == "__main__":
    main()
