"""Whether a process died inside a shared environment, told from libdb's register of the processes that have it open.

libdb itself notices only when the next process opens the environment. Until then those that have it open may wait for
ever on a lock or a latch that the dead one held, and afterwards on regions that the newcomer has replaced. So the
register is looked at from time to time: each process has a slot of 25 bytes with its number in ``__db.register`` and
holds an fcntl lock on the slot's first byte, which the system drops when the process dies.

The file stays open as long as the environment: closing any descriptor of it would give up this process' own lock
(fcntl(2)), and with it its registration.

An opening that fails in the middle of recovery leaves its slot filled, so that the next process recovers again. The
same process would be refused for ever, as one that has it open already (BDB1528): `strike_out` mends that.
"""

from __future__ import annotations

import fcntl
import os
import struct

__all__ = ("Registry", "holders", "strike_out", "wants_recovery")

FILE = "__db.register"
SLOT = 25  # bytes: "%24lu\n", DB 5.3's PID_FMT
EXCLUSIVE = 1  # the byte that libdb locks while it changes the register
EMPTY = b"X%23d\n" % 0  # an unused slot, DB 5.3's PID_EMPTY
NOBODY = (1 << 32) - 1  # the number of no process: Linux gives 2**22 at most
_LOCK = "hhqqi4x"  # struct flock of 64-bit Linux
_LINUX = os.uname().sysname == "Linux" and struct.calcsize("P") == 8


class Registry:
    """The register of one open environment. Used by one thread at a time."""

    def __init__(self, home: str) -> None:
        self._fd = os.open(os.path.join(home, FILE), os.O_RDWR | os.O_CLOEXEC) if _LINUX else -1
        self._suspect: frozenset[int] = frozenset()

    def verdict(self) -> str | None:
        """Say why the environment cannot be used any more; None: it can, as far as the register tells.

        A process that is leaving unlocks its slot after it has cleared it, so that one look would do; two in a row
        allow for a register that is being rewritten while it is read.
        """
        if self._fd < 0:
            return None
        dead = frozenset(self._dead())
        confirmed = dead & self._suspect
        self._suspect = dead
        if not confirmed:
            return None
        numbers = ", ".join(map(str, sorted(confirmed)))
        if os.getpid() in confirmed:
            return "another process has recovered it since it was opened here"
        return f"process {numbers} died inside it"

    def holds_dead(self) -> bool:
        """Tell whether a process that is registered has died; for one that is not registered itself."""
        return self._fd >= 0 and bool(self._unlocked()[0])

    def alive(self) -> list[int]:
        """Return the numbers of the processes, other than this, that have the environment open."""
        if self._fd < 0:
            return []
        content = os.pread(self._fd, 1 << 16, 0)
        slots = {start: content[start : start + SLOT].strip() for start in range(0, len(content) - SLOT + 1, SLOT)}
        return [int(text) for start, text in slots.items() if text.isdigit() and self._locked(start)]

    def _dead(self) -> list[int]:
        found, own = self._unlocked()
        return found if own else [os.getpid()]

    def _unlocked(self) -> tuple[list[int], bool]:
        """Return the numbers of processes whose slot is not locked, and whether this one has a slot."""
        content = os.pread(self._fd, 1 << 16, 0)
        found, own = [], False
        for start in range(0, len(content) - SLOT + 1, SLOT):
            text = content[start : start + SLOT].strip()
            if not text.isdigit():
                continue  # an empty slot: "X 0"
            if int(text) == os.getpid():
                own = True
            elif not self._locked(start):
                found.append(int(text))
        return found, own

    def _locked(self, start: int) -> bool:
        asked = struct.pack(_LOCK, fcntl.F_WRLCK, os.SEEK_SET, start, 1, 0)
        kind: int = struct.unpack(_LOCK, fcntl.fcntl(self._fd, fcntl.F_GETLK, asked))[0]
        return kind != fcntl.F_UNLCK

    def close(self) -> None:
        """Close the file; only after the environment is closed. Idempotent."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def holders(home: str) -> list[int]:
    """Return the numbers of the processes that have `home` open now; this one must not be among them."""
    try:
        register = Registry(home)
    except FileNotFoundError:
        return []
    try:
        return register.alive()
    finally:
        register.close()


def wants_recovery(home: str) -> bool:
    """Tell whether the next open of `home`, which this process has not open, will recover it.

    It does when somebody died in it, and when the register is gone, as in a copy, and there is something to recover.
    """
    try:
        register = Registry(home)
    except FileNotFoundError:
        return any(name.startswith("log.") for name in os.listdir(home))
    try:
        return register.holds_dead()
    finally:
        register.close()


def strike_out(home: str, *, recover: bool = True) -> None:
    """Let this process try again after an opening of `home` that failed. Blocks.

    `recover`: what failed was a recovery, which is still due; else the opening was refused before anything was done.
    """
    try:
        fd = os.open(os.path.join(home, FILE), os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX, 1, EXCLUSIVE)
        content = os.pread(fd, 1 << 16, 0)
        for start in range(0, len(content) - SLOT + 1, SLOT):
            if content[start : start + SLOT].strip() == b"%d" % os.getpid():
                os.pwrite(fd, b"%24d\n" % NOBODY if recover else EMPTY, start)
    finally:
        os.close(fd)  # and gives up the lock
