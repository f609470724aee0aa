"""The replication manager of an environment: set up, started, asked and steered through the binding's handle.

The order is `configure`, the handle's `open` with DB_INIT_REP, `start`. All functions block and are called on a worker.
They raise the binding's own exceptions, which the caller translates.

libdb 5.3 has no call that makes a master step down: a second start is refused (BDB3640). A clean hand-over is closing
the master's environment, whereupon the others elect at once, and opening it again; with its priority lowered before, or
it may be elected again later. Removing a site from the group for good is left out: the binding frees libdb's object for
the site twice after it, which ends the process.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from asyncstore.bdb._library import db
from asyncstore.bdb._rep_settings import Acks, Address, Replication, check_acks, check_priority

__all__ = (
    "Role", "Site", "Status", "configure", "open_flags", "set_acks", "set_priority", "start", "status", "synchronize",
)  # fmt: skip

_ACKS: dict[str, int] = {
    "all": db.DB_REPMGR_ACKS_ALL,
    "all_available": db.DB_REPMGR_ACKS_ALL_AVAILABLE,
    "all_peers": db.DB_REPMGR_ACKS_ALL_PEERS,
    "none": db.DB_REPMGR_ACKS_NONE,
    "one": db.DB_REPMGR_ACKS_ONE,
    "one_peer": db.DB_REPMGR_ACKS_ONE_PEER,
    "quorum": db.DB_REPMGR_ACKS_QUORUM,
}
_START: dict[str, int] = {"election": db.DB_REP_ELECTION, "master": db.DB_REP_MASTER, "client": db.DB_REP_CLIENT}
_TIMEOUTS: dict[str, int] = {
    "ack_timeout": db.DB_REP_ACK_TIMEOUT,
    "election_timeout": db.DB_REP_ELECTION_TIMEOUT,
    "election_retry": db.DB_REP_ELECTION_RETRY,
    "connection_retry": db.DB_REP_CONNECTION_RETRY,
    "checkpoint_delay": db.DB_REP_CHECKPOINT_DELAY,
    "full_election_timeout": db.DB_REP_FULL_ELECTION_TIMEOUT,
    "heartbeat_send": db.DB_REP_HEARTBEAT_SEND,
    "heartbeat_monitor": db.DB_REP_HEARTBEAT_MONITOR,
    "lease_timeout": db.DB_REP_LEASE_TIMEOUT,
}
_SWITCHES: dict[str, int] = {
    "elections": db.DB_REPMGR_CONF_ELECTIONS,
    "strict_two_site": db.DB_REPMGR_CONF_2SITE_STRICT,
    "bulk": db.DB_REP_CONF_BULK,
    "delay_sync": db.DB_REP_CONF_DELAYCLIENT,
    "auto_init": db.DB_REP_CONF_AUTOINIT,
}


class Role(Enum):
    """What a site is in its group at the moment."""

    MASTER = "master"
    CLIENT = "client"
    UNKNOWN = "unknown"  # not started yet


@dataclass(frozen=True, slots=True)
class Site:
    """Another member of the group: its number here, where it listens, and whether there is a connection to it."""

    number: int
    host: str
    port: int
    connected: bool


@dataclass(frozen=True, slots=True)
class Status:
    """Where a site stands.

    `master` is the master's address, this site's own if it is that; None while none is known, or it is not connected.
    `generation` grows with each change of masters. `ready` says whether the site can be read with what the master had
    when they met: a client has to catch up first. The counts run since the environment was created: `unacknowledged`
    commits and checkpoints, `elections` held and `elections_won`, messages `queued` for slow sites and those `dropped`
    (which clients ask for again), `connections_lost` and `connections_failed`, `transactions_applied` from a master.
    """

    role: Role
    master: Address | None
    generation: int
    ready: bool
    priority: int
    sites: tuple[Site, ...]
    unacknowledged: int
    elections: int
    elections_won: int
    queued: int
    dropped: int
    connections_lost: int
    connections_failed: int
    transactions_applied: int


def open_flags() -> int:
    """Return what the flags of the handle's `open` need besides those of a transactional environment."""
    return int(db.DB_INIT_REP | db.DB_THREAD)


def configure(handle: Any, settings: Replication) -> None:
    """Apply `settings` to the environment's `handle`, which is not open yet."""
    _add_site(handle, settings.local, db.DB_LOCAL_SITE, *([db.DB_GROUP_CREATOR] if settings.creator else ()))
    for peer in settings.peers:
        _add_site(handle, peer, db.DB_BOOTSTRAP_HELPER, *([db.DB_REPMGR_PEER] if peer == settings.sync_from else ()))
    handle.rep_set_priority(settings.priority)
    handle.repmgr_set_ack_policy(_ACKS[settings.acks])
    for name, which in _SWITCHES.items():
        handle.rep_set_config(which, getattr(settings, name))
    # A call that comes while a client catches up fails at once: no worker waits in there, the gatherer asks again.
    handle.rep_set_config(db.DB_REP_CONF_NOWAIT, True)  # noqa: FBT003 - the binding takes it by position
    if settings.lease_timeout is not None:
        handle.rep_set_config(db.DB_REP_CONF_LEASE, True)  # noqa: FBT003 - the binding takes it by position
    handle.rep_set_timeout(db.DB_REP_CHECKPOINT_DELAY, 0)  # the one whose default is neither ours nor none
    for name, which in _TIMEOUTS.items():
        seconds = getattr(settings, name)
        if seconds is not None:
            handle.rep_set_timeout(which, _microseconds(seconds))
    handle.rep_set_limit(settings.transmit_limit)
    handle.rep_set_request(*map(_microseconds, settings.request_gap))
    if settings.clock_skew:
        handle.rep_set_clockskew(10000 + round(settings.clock_skew * 100), 10000)


def _add_site(handle: Any, address: Address, *attributes: int) -> None:
    site = handle.repmgr_site(*address)
    try:
        for attribute in attributes:
            site.set_config(attribute, True)  # noqa: FBT003 - the binding takes it by position
    finally:
        site.close()


def _microseconds(seconds: float) -> int:
    return round(seconds * 1e6)


def start(handle: Any, settings: Replication) -> None:
    """Start to listen, connect and take part, on the open `handle`.

    The very first time, a site that is not the creator asks `peers` to let it join: this takes as long as the master
    needs to hear of it, and raises DBRepUnavailError when no peer answers or none knows a master. Later starts return
    at once. Before a client's databases are opened, the event STARTUP_DONE has to come.

    A second process in the same environment is not the site's own manager: it raises DBError with DB_REP_IGNORE, and
    can use the databases all the same as long as the first one runs.
    """
    handle.repmgr_start(settings.threads, _START[settings.role])


def set_priority(handle: Any, priority: int) -> None:
    """Change the site's priority in elections from the next one on. 0: it is never elected."""
    check_priority(priority)
    handle.rep_set_priority(priority)


def set_acks(handle: Any, acks: Acks) -> None:
    """Change which sites have to acknowledge a commit, from the next one on."""
    check_acks(acks)
    handle.repmgr_set_ack_policy(_ACKS[acks])


def synchronize(handle: Any) -> None:
    """Have a client catch up with its master that was told to delay that."""
    handle.rep_sync()


def status(handle: Any) -> Status:
    """Return where the site stands."""
    group, manager = handle.rep_stat(), handle.repmgr_stat()
    role = {db.DB_REP_MASTER: Role.MASTER, db.DB_REP_CLIENT: Role.CLIENT}.get(group["status"], Role.UNKNOWN)
    sites = _sites(handle)
    return Status(
        role=role,
        master=_master(handle, role, group["master"], sites),
        generation=group["gen"],
        ready=role is Role.MASTER or bool(group["startup_complete"]),
        priority=group["env_priority"],
        sites=sites,
        unacknowledged=manager["perm_failed"],
        elections=group["elections"],
        elections_won=group["elections_won"],
        queued=manager["msgs_queued"],
        dropped=manager["msgs_dropped"],
        connections_lost=manager["connection_drop"],
        connections_failed=manager["connect_fail"],
        transactions_applied=group["txns_applied"],
    )


def _sites(handle: Any) -> tuple[Site, ...]:
    listed = sorted(handle.repmgr_site_list().items())
    return tuple(Site(eid, host, port, state == db.DB_REPMGR_CONNECTED) for eid, (host, port, state) in listed)


def _master(handle: Any, role: Role, eid: int, sites: tuple[Site, ...]) -> Address | None:
    """Return the master's address. libdb goes on naming one that is lost until the next is elected."""
    if role is not Role.MASTER:
        return next(((site.host, site.port) for site in sites if site.number == eid and site.connected), None)
    itself = handle.repmgr_site_by_eid(eid)
    try:
        host, port = itself.get_address()
    finally:
        itself.close()
    return host, port
