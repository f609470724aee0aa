"""Whether a process died inside a shared environment, told from libdb's register of the processes that have it open.

libdb itself notices only when the next process opens the environment. Until then those that have it open may wait for
ever on a lock or a latch that the dead one held, and afterwards on regions that the newcomer has replaced. So the
register is looked at from time to time: each process has a slot of 25 bytes with its number in ``__db.register`` and
holds an fcntl lock on the slot's first byte, which the system drops when the process dies.

The file stays open as long as the environment: closing any descriptor of it would give up this process' own lock
(fcntl(2)), and with it its registration.
"""

from __future__ import annotations

import fcntl
import os
import struct

__all__ = ("Registry",)

SLOT = 25  # bytes: "%24lu\n", DB 5.3's PID_FMT
_LOCK = "hhqqi4x"  # struct flock of 64-bit Linux
_LINUX = os.uname().sysname == "Linux" and struct.calcsize("P") == 8


class Registry:
    """The register of one open environment. Used by one thread at a time."""

    def __init__(self, home: str) -> None:
        self._fd = os.open(os.path.join(home, "__db.register"), os.O_RDWR | os.O_CLOEXEC) if _LINUX else -1
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

    def _dead(self) -> list[int]:
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
        return found if own else [os.getpid()]

    def _locked(self, start: int) -> bool:
        asked = struct.pack(_LOCK, fcntl.F_WRLCK, os.SEEK_SET, start, 1, 0)
        kind: int = struct.unpack(_LOCK, fcntl.fcntl(self._fd, fcntl.F_GETLK, asked))[0]
        return kind != fcntl.F_UNLCK

    def close(self) -> None:
        """Close the file; only after the environment is closed. Idempotent."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
