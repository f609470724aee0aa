"""The settings of a replication site: what cannot be is refused before libdb sees it, with what was wrong about it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.bdb.binding import bdb  # noqa: F401 - skips the module where there is no libdb

HERE = ("127.0.0.1", 7001)
THERE = ("127.0.0.1", 7002)


def settings(**given: Any) -> Any:
    from asyncstore.bdb._rep_settings import Replication

    return Replication(**{"local": HERE, "peers": (THERE,), **given})


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"local": "127.0.0.1:7001"}, TypeError, "local is an address"),
        ({"local": ["127.0.0.1", 7001]}, TypeError, "local is an address"),
        ({"local": (b"127.0.0.1", 7001)}, TypeError, "host of local is a str"),
        ({"local": ("", 7001)}, ValueError, "host of local"),
        ({"local": ("a\0b", 7001)}, ValueError, "host of local"),
        ({"local": ("127.0.0.1", 0)}, ValueError, "port of local is 1 to 65535, not 0"),
        ({"local": ("127.0.0.1", 65536)}, ValueError, "port of local"),
        ({"local": ("127.0.0.1", True)}, TypeError, "port of local is an int"),
        ({"peers": [THERE]}, TypeError, "peers is a tuple"),
        ({"peers": ("there",)}, TypeError, "a peer is an address"),
        ({"peers": (HERE,)}, ValueError, "is this one"),
        ({"peers": (THERE, THERE)}, ValueError, "named twice"),
        ({"peers": ()}, ValueError, "needs at least one of peers"),
        ({"creator": 1}, TypeError, "creator is True or False"),
        ({"bulk": None}, TypeError, "bulk is True or False"),
        ({"role": "slave"}, ValueError, "role is one of 'election', 'master', 'client'"),
        ({"role": "master", "priority": 0}, ValueError, "priority 0"),
        ({"role": "master", "lease_timeout": 1.0}, ValueError, "has to be elected"),
        ({"acks": "some"}, ValueError, "acks is one of"),
        ({"acks": None}, ValueError, "acks is one of"),
        ({"priority": -1}, ValueError, "priority is 0 to"),
        ({"priority": 1.5}, TypeError, "priority is an int"),
        ({"threads": 0}, ValueError, "threads is 1 to 64"),
        ({"threads": 65}, ValueError, "threads is 1 to 64"),
        ({"transmit_limit": -1}, ValueError, "transmit_limit is 0 to"),
        ({"transmit_limit": 1 << 31}, ValueError, "transmit_limit is 0 to"),
        ({"ack_timeout": 0}, ValueError, "ack_timeout is 0.001 to 2147 seconds, not 0"),
        ({"ack_timeout": 2148}, ValueError, "ack_timeout"),
        ({"ack_timeout": float("nan")}, ValueError, "ack_timeout"),
        ({"ack_timeout": None}, TypeError, "ack_timeout is a number of seconds"),
        ({"election_retry": "1"}, TypeError, "election_retry is a number of seconds"),
        ({"heartbeat_send": None}, ValueError, "both given or both None"),
        ({"heartbeat_monitor": None}, ValueError, "both given or both None"),
        ({"heartbeat_send": 5.0}, ValueError, "has to be longer than heartbeat_send"),
        ({"full_election_timeout": 1.0}, ValueError, "not shorter than election_timeout"),
        ({"request_gap": 1.0}, TypeError, "request_gap is two times"),
        ({"request_gap": (1.0, 0.5)}, ValueError, "the shortest and then the longest"),
        ({"request_gap": (0.0, 0.5)}, ValueError, "request_gap is 0.001 to"),
        ({"sync_from": ("127.0.0.1", 7003)}, ValueError, "sync_from is one of peers"),
        ({"clock_skew": 2.0}, ValueError, "give lease_timeout too"),
        ({"clock_skew": 101, "lease_timeout": 1.0}, ValueError, "0 to 100 percent"),
        ({"clock_skew": "2", "lease_timeout": 1.0}, TypeError, "number of percent"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_name(given, error, words):
    with pytest.raises(error, match=words):
        settings(**given)


def test_a_creator_may_be_alone_and_a_time_may_be_any_number():
    assert settings(creator=True, peers=()).role == "election"
    assert settings(ack_timeout=1, election_timeout=0.001, heartbeat_send=None, heartbeat_monitor=None).ack_timeout == 1


def test_every_setting_reaches_libdb_in_its_own_unit():
    """Read back from a handle that is not opened."""
    from asyncstore.bdb import _replication
    from asyncstore.bdb._library import db

    handle = db.DBEnv()
    given = settings(
        priority=7,
        acks="one_peer",
        ack_timeout=0.25,
        election_timeout=1.5,
        election_retry=2.5,
        connection_retry=3.5,
        checkpoint_delay=4.5,
        full_election_timeout=5.5,
        heartbeat_send=0.75,
        heartbeat_monitor=6.5,
        lease_timeout=7.5,
        clock_skew=2.0,
        elections=False,
        strict_two_site=False,
        bulk=True,
        delay_sync=True,
        auto_init=False,
        transmit_limit=123456,
        request_gap=(0.05, 0.5),
        sync_from=THERE,
    )
    try:
        _replication.configure(handle, given)
        timeouts = {
            db.DB_REP_ACK_TIMEOUT: 250_000,
            db.DB_REP_ELECTION_TIMEOUT: 1_500_000,
            db.DB_REP_ELECTION_RETRY: 2_500_000,
            db.DB_REP_CONNECTION_RETRY: 3_500_000,
            db.DB_REP_CHECKPOINT_DELAY: 4_500_000,
            db.DB_REP_FULL_ELECTION_TIMEOUT: 5_500_000,
            db.DB_REP_HEARTBEAT_SEND: 750_000,
            db.DB_REP_HEARTBEAT_MONITOR: 6_500_000,
            db.DB_REP_LEASE_TIMEOUT: 7_500_000,
        }
        assert {which: handle.rep_get_timeout(which) for which in timeouts} == timeouts
        switches = {
            db.DB_REPMGR_CONF_ELECTIONS: False,
            db.DB_REPMGR_CONF_2SITE_STRICT: False,
            db.DB_REP_CONF_BULK: True,
            db.DB_REP_CONF_DELAYCLIENT: True,
            db.DB_REP_CONF_AUTOINIT: False,
            db.DB_REP_CONF_NOWAIT: True,
            db.DB_REP_CONF_LEASE: True,
        }
        assert {which: handle.rep_get_config(which) for which in switches} == switches
        assert handle.rep_get_priority() == 7
        assert handle.repmgr_get_ack_policy() == db.DB_REPMGR_ACKS_ONE_PEER
        assert handle.rep_get_limit() == 123456
        assert handle.rep_get_request() == (50_000, 500_000)
        assert handle.rep_get_clockskew() == (10200, 10000)
        for address, attributes in ((HERE, ()), (THERE, (db.DB_BOOTSTRAP_HELPER, db.DB_REPMGR_PEER))):
            site = handle.repmgr_site(*address)
            try:
                assert all(site.get_config(which) for which in attributes)
                assert bool(site.get_config(db.DB_LOCAL_SITE)) is (address == HERE)
            finally:
                site.close()
    finally:
        handle.close()


def test_without_a_checkpoint_delay_a_master_does_not_wait_the_half_minute_that_is_libdbs_default():
    from asyncstore.bdb import _replication
    from asyncstore.bdb._library import db

    handle = db.DBEnv()
    try:
        _replication.configure(handle, settings())
        assert handle.rep_get_timeout(db.DB_REP_CHECKPOINT_DELAY) == 0
    finally:
        handle.close()
