"""How a site takes part in a replication group: every setting of libdb's replication manager, checked beforehand."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, TypeAlias, get_args

from asyncstore.bdb._checks import check_int, check_time, check_word

__all__ = ("Acks", "Address", "Replication", "StartRole", "check_acks", "check_address", "check_priority")

Acks = Literal["all", "all_available", "all_peers", "none", "one", "one_peer", "quorum"]
Address: TypeAlias = tuple[str, int]
StartRole = Literal["election", "master", "client"]

MIN_TIME = 0.001  # seconds: below it a busy machine never makes it; refuses values that were meant in other units
MAX_TIME = 2147.0  # seconds: the binding hands libdb microseconds in a C int
MAX_PRIORITY = 1_000_000  # arbitrary, far above what orders the sites of one group
MIN_THREADS = 1  # libdb's; a start with fewer fails (BDB3641) and leaves the environment unable to start again
MAX_THREADS = 64  # arbitrary: more than the sites that a group can usefully have
MAX_BYTES = (1 << 31) - 1  # the binding hands it over in a C int

_TIMES = (
    "join_timeout",
    "ack_timeout",
    "election_timeout",
    "election_retry",
    "connection_retry",
    "checkpoint_delay",
    "full_election_timeout",
    "heartbeat_send",
    "heartbeat_monitor",
    "lease_timeout",
)
_OPTIONAL = frozenset(
    {"checkpoint_delay", "full_election_timeout", "heartbeat_send", "heartbeat_monitor", "lease_timeout"}
)
_FLAGS = ("creator", "elections", "strict_two_site", "bulk", "delay_sync", "auto_init")


@dataclass(frozen=True, slots=True, kw_only=True)
class Replication:
    """The settings of one site; the sites of a group may differ in all but `acks`, `lease_timeout` and `clock_skew`.

    Nothing on the wire is authenticated: the addresses belong on a network that only trusted machines can reach. Times
    are in seconds, from 0.001 to 2147. In brackets stands libdb's own name.

    - `local`: host and port where this site listens; the others must reach it by that name. It identifies the site for
      good: a site that comes back has the same address and the same home directory.
    - `peers`: addresses of other sites. The first time, one of them has to be up and know the master for this one to
      join [DB_BOOTSTRAP_HELPER]; later they are remembered in the environment.
    - `join_timeout`: the first time, how long this site asks them to let it in before `NoMaster` is raised, for sites
      that are started together come up in any order.
    - `creator`: this site starts the group, the first time with an empty home directory [DB_GROUP_CREATOR]. One site of
      a group has it, at every start; two would make two groups.
    - `role`: what the site does at first: "election" takes part in an election when it finds no master, and
      is right for every site; "client" waits for a master; "master" becomes master unasked and disturbs a group that
      has one already: then both step down and elect [DB_REP_ELECTION, DB_REP_CLIENT, DB_REP_MASTER].
    - `priority`: among sites with equally recent data the highest is elected; 0: never [DB_ENV->rep_set_priority].
    - `acks`: which sites have to acknowledge a commit: "quorum" (so many that a master elected later has it; none in a
      group of two that is `strict_two_site`, where only both together elect), "all", "all_available" (those connected),
      "all_peers" (those with a priority above 0), "one", "one_peer", "none" [DB_REPMGR_ACKS_*]. All sites of a group
      have the same.
    - `ack_timeout`: how long a commit waits for them; then it stands here, and counts as not acknowledged
      [DB_REP_ACK_TIMEOUT].
    - `election_timeout`: how long an election waits for votes before it is decided without those that are missing
      [DB_REP_ELECTION_TIMEOUT]; `full_election_timeout`: the same for the first election after all sites were down,
      to wait for every one of them; None: as any other [DB_REP_FULL_ELECTION_TIMEOUT]; `election_retry`: the pause
      after one that nobody won [DB_REP_ELECTION_RETRY].
    - `connection_retry`: the pause between attempts to reach a site [DB_REP_CONNECTION_RETRY].
    - `heartbeat_send`: how often a master that has nothing to send says that it is there [DB_REP_HEARTBEAT_SEND];
      `heartbeat_monitor`: how long a client waits for it before it calls an election [DB_REP_HEARTBEAT_MONITOR]. Both
      or neither; without them a master whose machine or network died unannounced is not missed.
    - `checkpoint_delay`: how long every checkpoint of a master's stands still, so that clients have written their own
      pages by the time they apply it; None: not at all (libdb's own default is 30 s, which the last checkpoint before a
      close would wait too) [DB_REP_CHECKPOINT_DELAY].
    - `elections`: hold them by itself when the master is lost [DB_REPMGR_CONF_ELECTIONS].
    - `strict_two_site`: in a group of two a lost master is not replaced, since the other cannot tell whether the master
      or the network died; False: it is, and the two may both be masters, of which one loses its commits
      [DB_REPMGR_CONF_2SITE_STRICT].
    - `bulk`: send records to clients in large pieces [DB_REP_CONF_BULK].
    - `delay_sync`: a client catches up with a new master only when told to, by `Member.synchronize`
      [DB_REP_CONF_DELAYCLIENT]; `auto_init`: a client whose log reaches back too little is given all files anew; False:
      it fails to join [DB_REP_CONF_AUTOINIT].
    - `lease_timeout`: the master reads only while a majority has granted it a lease of this length, so that no read at
      a master that has been replaced is stale; None: no leases [DB_REP_LEASE_TIMEOUT]. It excludes role "master".
    - `clock_skew`: by how many percent the fastest clock of the group may outrun the slowest, for leases
      [DB_ENV->rep_set_clockskew].
    - `transmit_limit`: bytes sent to a client in answer to one request for records; 0: no bound
      [DB_ENV->rep_set_limit].
    - `request_gap`: the shortest and the longest wait before a client asks again for a record that it misses
      [DB_ENV->rep_set_request].
    - `sync_from`: the address among `peers` that a client prefers to the master to catch up from [DB_REPMGR_PEER].
    - `threads`: how many threads of libdb's handle messages, 1 to 64.

    Raises TypeError and ValueError for what cannot be.
    """

    local: Address
    peers: tuple[Address, ...] = ()
    join_timeout: float = 30.0
    creator: bool = False
    role: StartRole = "election"
    priority: int = 100
    acks: Acks = "quorum"
    ack_timeout: float = 1.0
    election_timeout: float = 2.0
    election_retry: float = 2.0
    connection_retry: float = 5.0
    checkpoint_delay: float | None = None
    full_election_timeout: float | None = None
    heartbeat_send: float | None = 1.0
    heartbeat_monitor: float | None = 5.0
    elections: bool = True
    strict_two_site: bool = True
    bulk: bool = False
    delay_sync: bool = False
    auto_init: bool = True
    lease_timeout: float | None = None
    clock_skew: float = 0.0
    transmit_limit: int = 10 * 1024 * 1024
    request_gap: tuple[float, float] = (0.04, 1.28)
    sync_from: Address | None = None
    threads: int = 3

    def __post_init__(self) -> None:
        self._check_addresses()
        check_word("role", self.role, get_args(StartRole))
        check_acks(self.acks)
        check_priority(self.priority)
        check_int("threads", self.threads, MIN_THREADS, MAX_THREADS)
        check_int("transmit_limit", self.transmit_limit, 0, MAX_BYTES)
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in _TIMES and not (value is None and field.name in _OPTIONAL):
                check_time(field.name, value, MIN_TIME, MAX_TIME)
            elif field.name in _FLAGS and not isinstance(value, bool):
                raise TypeError(f"{field.name} is True or False, not {value!r}")
        self._check_relations()

    def _check_addresses(self) -> None:
        check_address("local", self.local)
        if not isinstance(self.peers, tuple):
            raise TypeError(f"peers is a tuple of (host, port), not {type(self.peers).__name__}")
        for peer in self.peers:
            check_address("a peer", peer)
        if self.local in self.peers:
            raise ValueError(f"peers are the other sites, {self.local!r} is this one")
        if len(set(self.peers)) != len(self.peers):
            raise ValueError(f"a peer is named twice: {self.peers!r}")
        if not self.peers and not self.creator:
            raise ValueError("a site that is not the creator of its group needs at least one of peers to join it")
        if self.sync_from is not None and self.sync_from not in self.peers:
            raise ValueError(f"sync_from is one of peers, not {self.sync_from!r}")

    def _check_relations(self) -> None:
        send, monitor = self.heartbeat_send, self.heartbeat_monitor
        if (send is None) != (monitor is None):
            raise ValueError("heartbeat_send and heartbeat_monitor are both given or both None")
        if send is not None and monitor is not None and monitor <= send:
            raise ValueError(f"heartbeat_monitor ({monitor}) has to be longer than heartbeat_send ({send})")
        if self.full_election_timeout is not None and self.full_election_timeout < self.election_timeout:
            raise ValueError(f"full_election_timeout is not shorter than election_timeout ({self.election_timeout})")
        if not isinstance(self.request_gap, tuple) or len(self.request_gap) != 2:
            raise TypeError(f"request_gap is two times, the shortest and the longest, not {self.request_gap!r}")
        for gap in self.request_gap:
            check_time("request_gap", gap, MIN_TIME, MAX_TIME)
        if self.request_gap[0] > self.request_gap[1]:
            raise ValueError(f"request_gap is the shortest and then the longest time, not {self.request_gap!r}")
        if isinstance(self.clock_skew, bool) or not isinstance(self.clock_skew, (int, float)):
            raise TypeError(f"clock_skew is a number of percent, not {type(self.clock_skew).__name__}")
        if not 0 <= self.clock_skew <= 100:
            raise ValueError(f"clock_skew is 0 to 100 percent, not {self.clock_skew!r}")
        if self.role == "master" and self.priority == 0:
            raise ValueError("a site with priority 0 is never elected, and cannot have role 'master' either")
        if self.lease_timeout is None and self.clock_skew:
            raise ValueError("clock_skew is for leases: give lease_timeout too")
        if self.lease_timeout is not None and self.role == "master":
            raise ValueError("with leases a master has to be elected: role is 'election' or 'client'")


def check_address(name: str, address: object) -> None:
    """Refuse what is no (host, port). Raises TypeError and ValueError."""
    if not isinstance(address, tuple) or len(address) != 2:
        raise TypeError(f"{name} is an address (host, port), not {address!r}")
    host, port = address
    if not isinstance(host, str):
        raise TypeError(f"the host of {name} is a str, not {type(host).__name__}")
    if not host or "\0" in host:
        raise ValueError(f"the host of {name} cannot be {host!r}")
    check_int(f"the port of {name}", port, 1, 65535)


def check_priority(priority: object) -> None:
    """Refuse what is no priority in elections. Raises TypeError and ValueError."""
    check_int("priority", priority, 0, MAX_PRIORITY)


def check_acks(acks: object) -> None:
    """Refuse what is no acknowledgement policy. Raises ValueError."""
    check_word("acks", acks, get_args(Acks))
