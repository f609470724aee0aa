"""How the servers are started that our own tests run against."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from signal import Signals

from asyncstore.testing._servers import HOST, ServerProgram, named_user
from asyncstore.testing.errors import ServerFailed

__all__ = ("MARIADB", "MEMCACHED", "POSTGRESQL")

USER = "tester"
PASSWORD = "open sesame"  # noqa: S105 - of a server that nobody else can reach; a space, as passwords have them
_PREPARE_TIMEOUT = 60.0  # seconds for making an empty database, on a busy machine


def _memcached(path: str, port: int, folder: Path) -> list[str]:
    command = [path, "-l", HOST, "-p", str(port), "-U", "0", "-m", "64", "-t", "2", "-P", str(folder / "pid")]
    return [*command, "-u", "root"] if os.geteuid() == 0 else command  # it refuses to run as root unless told to


MEMCACHED = ServerProgram("memcached", "memcached", _memcached)


def _prepare(command: list[str], user: int | None = None) -> None:
    """Run a program that makes an empty database."""
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_PREPARE_TIMEOUT, check=False,
        user=user, group=None if user is None else named_user("postgres", "nobody")[1], cwd="/",
    )  # fmt: skip
    if done.returncode:
        raise ServerFailed(f"{command[0]} ended with status {done.returncode}; it printed: {done.stdout}{done.stderr}")


def _postgresql(path: str, port: int, folder: Path) -> list[str]:
    data = folder / "data"
    if not data.exists():
        user, group = named_user("postgres", "nobody")  # it refuses to run as root
        secret = folder / "password"
        secret.write_text(PASSWORD)
        if user is not None:
            os.chown(secret, user, group or -1)
            os.chown(folder, user, group or -1)
        initdb = str(Path(path).resolve().with_name("initdb"))
        authentication = ["--auth=scram-sha-256", f"--pwfile={secret}", f"--username={USER}"]
        _prepare([initdb, "-D", str(data), "--encoding=UTF8", "--locale=C", "--no-sync", *authentication], user)
    settings = {
        "listen_addresses": HOST,
        "unix_socket_directories": str(folder),
        "fsync": "off",  # what a test kills is the process, not the machine
        "shared_buffers": "16MB",
        "max_connections": "60",
    }
    return [path, "-D", str(data), "-p", str(port), *(f"--{name}={value}" for name, value in settings.items())]


def _postgresql_is_ready(path: str, port: int) -> bool:
    """Whether it would take a query: it accepts connections long before."""
    command = [str(Path(path).resolve().with_name("pg_isready")), "-q", "-h", HOST, "-p", str(port)]
    return subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode == 0


POSTGRESQL = ServerProgram(
    "postgres",
    "postgresql",
    _postgresql,
    folders="/usr/lib/postgresql/*/bin",
    ready=_postgresql_is_ready,
    stop=Signals.SIGINT,  # SIGTERM would wait for its clients to leave
    users=("postgres", "nobody"),
    url=f"postgresql://{USER}:{PASSWORD.replace(' ', '%20')}@{{host}}:{{port}}/postgres",
)


def _mariadb(path: str, port: int, folder: Path) -> list[str]:
    data = folder / "data"
    root = ["--user=root"] if os.geteuid() == 0 else []
    if not data.exists():
        install = "mariadb-install-db"
        options = ["--auth-root-authentication-method=normal", "--skip-test-db", f"--datadir={data}"]
        _prepare([install, "--no-defaults", *root, *options])
    start = folder / "start.sql"
    start.write_text(
        "CREATE DATABASE IF NOT EXISTS test;\n"
        f"CREATE USER IF NOT EXISTS {USER}@'%' IDENTIFIED BY '{PASSWORD}';\n"
        f"GRANT ALL ON *.* TO {USER}@'%' WITH GRANT OPTION;\n"
    )
    settings = {
        "datadir": str(data),
        "socket": str(folder / "socket"),
        "pid-file": str(folder / "pid"),
        "init-file": str(start),
        "bind-address": HOST,
        "port": str(port),
        "innodb-buffer-pool-size": "32M",
        "innodb-log-file-size": "16M",
        "innodb-flush-log-at-trx-commit": "2",  # what a test kills is the process, not the machine
        "skip-name-resolve": "on",
        "character-set-server": "utf8mb4",
    }
    return [path, "--no-defaults", *root, *(f"--{name}={value}" for name, value in settings.items())]


MARIADB = ServerProgram(
    "mariadbd",
    "mariadb-server",
    _mariadb,
    url=f"mysql://{USER}:{PASSWORD.replace(' ', '%20')}@{{host}}:{{port}}/test",
)
