"""Files for asyncio: what the page cache holds is had on the spot, everything else leaves the loop thread.

Which engine serves which call, and why, is in ``docs/reference/aio-engines.md``.
"""

from __future__ import annotations

from asyncstore.aio import (
    path as path,
    tempfile as tempfile,
)
from asyncstore.aio._attributes import (
    chmod as chmod,
    chown as chown,
    getxattr as getxattr,
    lchmod as lchmod,
    lchown as lchown,
    listxattr as listxattr,
    removexattr as removexattr,
    setxattr as setxattr,
    truncate as truncate,
    utime as utime,
)
from asyncstore.aio._binary import (
    BinaryFile as BinaryFile,
    RawFile as RawFile,
)
from asyncstore.aio._change import (
    Change as Change,
    ChangeKind as ChangeKind,
)
from asyncstore.aio._copy import (
    copy as copy,
)
from asyncstore.aio._copy_tree import (
    copytree as copytree,
    move as move,
)
from asyncstore.aio._directories import (
    listdir as listdir,
    makedirs as makedirs,
    mkdir as mkdir,
    removedirs as removedirs,
    rmdir as rmdir,
)
from asyncstore.aio._durable import (
    pathsync as pathsync,
    sync as sync,
    syncfs as syncfs,
)
from asyncstore.aio._extents import (
    Extent as Extent,
    extents as extents,
)
from asyncstore.aio._group import (
    Group as Group,
)
from asyncstore.aio._handover import (
    to_io as to_io,
)
from asyncstore.aio._leftovers import (
    remove_leftovers as remove_leftovers,
)
from asyncstore.aio._memory import (
    mlock as mlock,
    msync as msync,
    mtouch as mtouch,
    munlock as munlock,
)
from asyncstore.aio._names import (
    link as link,
    readlink as readlink,
    realpath as realpath,
    remove as remove,
    rename as rename,
    rename2 as rename2,
    renames as renames,
    replace as replace,
    symlink as symlink,
    unlink as unlink,
)
from asyncstore.aio._nodes import (
    mkfifo as mkfifo,
    mknod as mknod,
)
from asyncstore.aio._open import (
    open as open,  # noqa: A004  # `aio.open` is its name, as `os.open` is
)
from asyncstore.aio._pathlib import (
    Path as Path,
)
from asyncstore.aio._remove import (
    rmtree as rmtree,
)
from asyncstore.aio._rings import (
    RingState as RingState,
    ring_state as ring_state,
)
from asyncstore.aio._scandir import (
    DirEntry as DirEntry,
    ScandirIterator as ScandirIterator,
    scandir as scandir,
)
from asyncstore.aio._sendfile import (
    sendfile as sendfile,
)
from asyncstore.aio._space import (
    FALLOC_FL_COLLAPSE_RANGE as FALLOC_FL_COLLAPSE_RANGE,
    FALLOC_FL_INSERT_RANGE as FALLOC_FL_INSERT_RANGE,
    FALLOC_FL_KEEP_SIZE as FALLOC_FL_KEEP_SIZE,
    FALLOC_FL_PUNCH_HOLE as FALLOC_FL_PUNCH_HOLE,
    FALLOC_FL_ZERO_RANGE as FALLOC_FL_ZERO_RANGE,
)
from asyncstore.aio._stat import (
    access as access,
    lstat as lstat,
    stat as stat,
    stat_many as stat_many,
    statvfs as statvfs,
)
from asyncstore.aio._statx import (
    Statx as Statx,
    statx as statx,
)
from asyncstore.aio._stdio import (
    StandardStream as StandardStream,
    stderr as stderr,
    stderr_bytes as stderr_bytes,
    stdin as stdin,
    stdin_bytes as stdin_bytes,
    stdout as stdout,
    stdout_bytes as stdout_bytes,
)
from asyncstore.aio._text import (
    TextFile as TextFile,
)
from asyncstore.aio._walk import (
    walk as walk,
)
from asyncstore.aio._watch import (
    Watcher as Watcher,
    watch as watch,
)
from asyncstore.aio._whole import (
    append as append,
    read as read,
    read_many as read_many,
    read_text as read_text,
    write as write,
    write_text as write_text,
)
from asyncstore.aio.errors import (
    GroupClosed as GroupClosed,
    PartialWrite as PartialWrite,
    TooLarge as TooLarge,
    WatchLimit as WatchLimit,
)
from asyncstore.pool import (
    current_priority as current_priority,
    priority as priority,
)

__all__ = (
    "BinaryFile",
    "Change",
    "ChangeKind",
    "DirEntry",
    "Extent",
    "FALLOC_FL_COLLAPSE_RANGE",
    "FALLOC_FL_INSERT_RANGE",
    "FALLOC_FL_KEEP_SIZE",
    "FALLOC_FL_PUNCH_HOLE",
    "FALLOC_FL_ZERO_RANGE",
    "Group",
    "GroupClosed",
    "PartialWrite",
    "Path",
    "RawFile",
    "RingState",
    "ScandirIterator",
    "StandardStream",
    "Statx",
    "TextFile",
    "TooLarge",
    "WatchLimit",
    "Watcher",
    "access",
    "append",
    "chmod",
    "chown",
    "copy",
    "copytree",
    "current_priority",
    "extents",
    "getxattr",
    "lchmod",
    "lchown",
    "link",
    "listdir",
    "listxattr",
    "lstat",
    "makedirs",
    "mkdir",
    "mkfifo",
    "mknod",
    "mlock",
    "move",
    "msync",
    "mtouch",
    "munlock",
    "open",
    "path",
    "pathsync",
    "priority",
    "read",
    "read_many",
    "read_text",
    "readlink",
    "realpath",
    "remove",
    "remove_leftovers",
    "removedirs",
    "removexattr",
    "rename",
    "rename2",
    "renames",
    "replace",
    "ring_state",
    "rmdir",
    "rmtree",
    "scandir",
    "sendfile",
    "setxattr",
    "stat",
    "stat_many",
    "statvfs",
    "statx",
    "stderr",
    "stderr_bytes",
    "stdin",
    "stdin_bytes",
    "stdout",
    "stdout_bytes",
    "symlink",
    "sync",
    "syncfs",
    "tempfile",
    "to_io",
    "truncate",
    "unlink",
    "utime",
    "walk",
    "watch",
    "write",
    "write_text",
)
