"""Replication between processes on loopback: masters that are killed, close and come back; commits nobody confirms."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asyncstore.testing._servers import _free_port
from tests.bdb.binding import bdb  # noqa: F401 - skips the module where there is no libdb

SCRIPT = Path(__file__).with_name("replication_site.py")
PATIENCE = 30.0  # seconds for what takes a tenth of one: only a hang gets here
# quick enough for a test, and without heartbeats, which a busy machine would miss: a killed process is missed anyway
QUICK = {
    "ack_timeout": 20.0,
    "election_timeout": 0.4,
    "election_retry": 0.3,
    "connection_retry": 0.2,
    "heartbeat_send": None,
    "heartbeat_monitor": None,
}


class Refused(Exception):
    """The site answered a command with an error of the binding's; the message starts with its class."""


class Site:
    """A child process that is a site, and what it said so far."""

    def __init__(self, number: int, home: Path, ports: list[int], options: dict[str, Any]) -> None:
        self.number, self.home, self.ports = number, home, ports
        self.options = {**QUICK, "priority": 100 - number, "creator": number == 0, **options}
        self.process: subprocess.Popen[bytes] | None = None

    def open(self, **options: Any) -> None:
        """Start the process and open the environment in it; replication is not started yet."""
        addresses = [("127.0.0.1", port) for port in self.ports]
        local = addresses.pop(self.number)
        self.home.mkdir(exist_ok=True)
        self.options.update(options)
        given = json.dumps({"local": local, "peers": addresses, **self.options})
        command = [sys.executable, str(SCRIPT), str(self.home), given]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.stdin, self.stdout = self.process.stdin, self.process.stdout
        self.said: list[dict[str, Any]] = []
        self.rest = b""

    def read(self, what: str, deadline: float) -> None:
        """Read what the process says next. Fails when `deadline` has passed or the process has died."""
        ready, _, _ = select.select([self.stdout], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, f"site {self.number}: no {what} in {PATIENCE} s; it said {self.said}"
        piece = os.read(self.stdout.fileno(), 1 << 16)
        assert piece, f"site {self.number} has died before {what}; it said {self.said}"
        *lines, self.rest = (self.rest + piece).split(b"\n")
        self.said.extend(map(json.loads, lines))

    def ask(self, *command: Any) -> Any:
        """Give a command and return its answer. Raises Refused."""
        self.stdin.write(json.dumps(command).encode() + b"\n")
        self.stdin.flush()
        deadline = time.monotonic() + PATIENCE
        while True:
            for message in self.said:
                if "event" not in message:
                    self.said.remove(message)
                    if "error" in message:
                        raise Refused(": ".join(message["error"]))
                    return message["answer"]
            self.read(f"answer to {command}", deadline)

    def wait_for(self, *events: str) -> str:
        """Return the first of `events` to come; it and what came before it are forgotten."""
        deadline = time.monotonic() + PATIENCE
        while True:
            for place, message in enumerate(self.said):
                if message.get("event") in events:
                    del self.said[: place + 1]
                    return str(message["event"])
            self.read(" or ".join(events), deadline)

    def end(self) -> None:
        """Kill the process, if it runs."""
        if self.process is None:
            return
        self.process.kill()
        self.process.wait()
        self.stdin.close()
        self.stdout.close()
        self.process = None


class Group:
    """The sites of one test. The first creates the group and is its master; its database has the key "old"."""

    def __init__(self, tmp_path: Path) -> None:
        self.tmp_path = tmp_path
        self.sites: list[Site] = []

    def build(self, *options: dict[str, Any]) -> list[Site]:
        ports = free_ports(len(options))
        self.sites = [Site(number, self.tmp_path / f"{number}", ports, each) for number, each in enumerate(options)]
        for site in self.sites:
            site.open()
        for site in self.sites:
            site.ask("start")
            if site.number == 0:
                site.wait_for("MASTER")
                site.ask("open", True)
                site.ask("put", "old", "1")
            else:
                site.wait_for("STARTUP_DONE")
                site.ask("open", False)
        return self.sites


def free_ports(count: int) -> list[int]:
    """Return ports below the ephemeral range, where no outgoing connection can take them meanwhile."""
    ports: list[int] = []
    while len(ports) < count:
        port = _free_port()
        if port not in ports:
            ports.append(port)
    return ports


@pytest.fixture
def group(tmp_path: Path) -> Iterator[Group]:
    made = Group(tmp_path)
    yield made
    for site in made.sites:
        site.end()


def test_a_killed_master_is_replaced_and_rejoins_as_client(group):
    """All that was acknowledged is at the new master, and what that wrote comes to the old one when it is back."""
    first, second, third = group.build(*[{"acks": "all"}] * 3)
    assert first.ask("put", "k", "1") is False  # acknowledged
    first.end()
    second.wait_for("ELECTED")  # of two that know the same, the one with the higher priority
    second.wait_for("MASTER")
    third.wait_for("NEW_MASTER")
    third.wait_for("STARTUP_DONE")
    second.ask("set_acks", "quorum")
    assert second.ask("get", "old") == "1"
    assert second.ask("get", "k") == "1"
    assert second.ask("put", "k", "2") is False

    first.open()
    first.ask("start")
    first.wait_for("CLIENT")
    first.wait_for("NEW_MASTER")
    first.wait_for("STARTUP_DONE")
    first.ask("open", False)
    assert first.ask("get", "k") == "2"
    status = first.ask("status")
    assert (status["role"], status["ready"]) == ("client", True)
    assert status["master"] == ["127.0.0.1", second.ports[1]]
    assert sorted(site["port"] for site in status["sites"]) == sorted(first.ports[1:])
    assert second.ask("status")["master"] == status["master"]
    winner = second.ask("status")
    assert winner["elections_won"] >= 1  # on a slow machine an election may be held again
    assert winner["generation"] == status["generation"] >= 2


def test_a_client_refuses_writes_and_has_what_the_master_wrote(group):
    first, second = group.build({"acks": "all"}, {"acks": "all"})
    assert first.ask("put", "k", "1") is False
    assert second.ask("get", "k") == "1"
    with pytest.raises(Refused, match=r"DBAccessError.*BDB0111"):
        second.ask("put", "k", "2")
    assert second.ask("get", "k") == "1"


def test_a_master_that_closes_hands_over_at_once(group):
    first, second, third = group.build(*[{"acks": "all"}] * 3)
    assert first.ask("put", "k", "1") is False
    first.ask("set_priority", 0)
    first.ask("close")
    first.end()
    second.wait_for("MASTER")
    third.wait_for("NEW_MASTER")
    third.wait_for("STARTUP_DONE")
    assert third.ask("get", "k") == "1"
    first.open(priority=0)
    first.ask("start")
    first.wait_for("STARTUP_DONE")
    assert second.ask("put", "k", "2") is False  # by all three
    first.ask("open", False)
    assert first.ask("get", "k") == "2"


def test_only_the_thread_whose_commit_was_not_acknowledged_is_told(group):
    first, second = group.build({"acks": "all"}, {"acks": "all"})
    assert first.ask("put_on_a_thread", "k", "1") == [False, False]
    second.end()
    first.wait_for("CONNECT_BROKEN")
    first.ask("set_ack_timeout", 0.05)
    assert first.ask("put_on_a_thread", "k", "2") == [True, False]
    assert first.ask("put", "k", "3") is True
    assert first.ask("checkpoint") is True
    assert first.ask("status")["unacknowledged"] >= 3
    first.ask("set_acks", "none")
    assert first.ask("put", "k", "4") is False
    assert first.ask("get", "k") == "4"


@pytest.mark.parametrize("priority", [0, 1])
def test_a_survivor_becomes_master_unless_its_priority_is_zero(group, priority):
    first, second = group.build({"strict_two_site": False}, {"strict_two_site": False, "priority": priority})
    first.end()
    second.wait_for("MASTER_FAILURE")
    if priority:
        assert second.wait_for("ELECTION_FAILED", "MASTER") == "MASTER"
        second.ask("put", "k", "1")
        assert second.ask("get", "k") == "1"
        assert second.ask("status")["master"] == ["127.0.0.1", second.ports[1]]
        return
    assert second.wait_for("ELECTION_FAILED", "MASTER") == "ELECTION_FAILED"
    assert second.wait_for("ELECTION_FAILED", "MASTER") == "ELECTION_FAILED"  # it tries, and never wins
    assert second.ask("status")["master"] is None
    assert second.ask("get", "old") == "1"  # it can be read all the while
    second.ask("set_priority", 1)
    while second.wait_for("ELECTION_FAILED", "MASTER") != "MASTER":
        pass  # elections that were under way
    assert second.ask("status")["priority"] == 1


def test_commits_that_nobody_else_has_are_undone_when_their_master_rejoins(group):
    """A database that was open through this is dead; opened again it has what the new master has."""
    first, second, third = group.build(*[{"acks": "all"}] * 3)
    assert first.ask("put", "k", "1") is False
    second.end()
    third.end()
    first.ask("set_ack_timeout", 0.05)
    assert first.ask("put", "lost", "1") is True
    first.end()
    first.open()
    first.ask("open", False)
    assert first.ask("get", "lost") == "1"
    opened = time.time()
    second.open(acks="quorum")
    third.open(acks="quorum")
    second.ask("start")
    third.ask("start")
    second.wait_for("MASTER")
    third.wait_for("STARTUP_DONE")
    second.ask("open", False)
    assert second.ask("put", "kept", "1") is False

    while time.time() < opened + 1:  # libdb tells a dead handle by its age in whole seconds
        time.sleep(0.01)
    first.ask("start")
    first.wait_for("STARTUP_DONE")
    with pytest.raises(Refused, match="DBRepHandleDeadError"):
        first.ask("get", "old")
    first.ask("open", False)
    assert [first.ask("get", key) for key in ("old", "lost", "kept")] == ["1", None, "1"]


def test_a_newcomer_that_reaches_nobody_may_try_again(group):
    ports = free_ports(2)
    first, second = group.sites = [Site(number, group.tmp_path / f"{number}", ports, {}) for number in (0, 1)]
    second.open()
    assert second.ask("status")["role"] == "unknown"
    with pytest.raises(Refused, match="DBRepUnavailError"):
        second.ask("start")
    first.open()
    first.ask("start")
    first.wait_for("MASTER")
    second.ask("start")
    second.wait_for("STARTUP_DONE")


def test_the_creator_may_start_again_as_creator_and_finds_its_group(group):
    """And alone: one of a group of one is its majority."""
    (first,) = group.build({"lease_timeout": 1.0, "clock_skew": 2.0, "full_election_timeout": 2.0})
    first.ask("close")
    first.end()
    first.open()
    first.ask("start")
    first.wait_for("MASTER")
    first.ask("open", False)
    assert first.ask("get", "old") == "1"
    assert first.ask("checkpoint") is False
    status = first.ask("status")
    assert (status["role"], status["sites"], status["ready"]) == ("master", [], True)
