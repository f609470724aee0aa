"""What a database looks like in its file: access method, duplicates, sizes; and how one is opened as such.

What is stored in the file (type, duplicates, checksums, page size, record length) counts for an existing database;
asking for something else is refused by name rather than ignored. Comparisons are not stored: they must be given at
every opening, or keys are looked for in the wrong places.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from asyncstore.bdb import errors
from asyncstore.bdb._callbacks import Comparison, guard_comparison
from asyncstore.bdb._checks import check_int
from asyncstore.bdb._library import LIBDB_ERRORS, db
from asyncstore.bdb._records import check_file, check_name
from asyncstore.bdb._scan import Duplicates

__all__ = (
    "AccessMethod",
    "Description",
    "Layout",
    "Place",
    "file_of",
    "found_layout",
    "open_handle",
    "place_of",
    "type_name",
)

AccessMethod = Literal["btree", "hash", "recno", "queue", "heap"]

_TYPES = {"btree": db.DB_BTREE, "hash": db.DB_HASH, "recno": db.DB_RECNO, "queue": db.DB_QUEUE, "heap": db.DB_HEAP}
_NAMES = {number: name for name, number in _TYPES.items()}
NUMBERED = frozenset({"recno", "queue"})
MIN_PAGE, MAX_PAGE = 512, 65536  # bytes; db.h


def type_name(number: int) -> str:
    """Return the access method that libdb calls `number`."""
    return _NAMES.get(number, f"type {number}")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a database is: `name` in `file` (None: the whole file); `file` None: in memory."""

    name: str | None
    file: str | None


@dataclass(frozen=True, slots=True)
class Description:
    """A database that is to be opened or is open: its name, what error messages call it, its layout and place."""

    name: str
    title: str
    layout: Layout
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The options of `Environment.database`, checked. Raises TypeError and ValueError for what cannot be."""

    type: AccessMethod | None = "btree"
    duplicates: Literal["sorted", "unsorted"] | None = None
    record_numbers: bool = False
    renumber: bool = False
    record_length: int | None = None
    pad: int | None = None
    extent_pages: int | None = None
    page_size: int | None = None
    checksum: bool = True
    compare: Comparison | None = None
    compare_duplicates: Comparison | None = None
    read_uncommitted: bool = False
    tuning: tuple[tuple[str, int], ...] = ()  # what only tunes, by the names that dumps have for it

    def __post_init__(self) -> None:
        kind = self.type
        if kind is not None and kind not in _TYPES:
            raise ValueError(f"the type of a database is one of {', '.join(map(repr, _TYPES))}, not {kind!r}")
        if self.duplicates not in (None, "sorted", "unsorted"):
            raise ValueError(f"duplicates is 'sorted', 'unsorted' or None, not {self.duplicates!r}")
        for option, allowed in _ONLY.items():
            value = getattr(self, option)
            if value is not None and value is not False and kind is not None and kind not in allowed:
                raise ValueError(f"{option} is for {' and '.join(allowed)} databases, not for {kind}")
        if self.record_numbers and self.duplicates:
            raise ValueError("a btree with record numbers has no duplicates")
        if self.compare_duplicates is not None and self.duplicates != "sorted":
            raise ValueError("compare_duplicates is for sorted duplicates")
        for option in ("compare", "compare_duplicates"):
            if getattr(self, option) is not None and not callable(getattr(self, option)):
                raise TypeError(f"{option} is a function of two bytes that returns an int")
        self._check_numbers()

    def _check_numbers(self) -> None:
        if self.type == "queue" and self.record_length is None:
            raise ValueError("a queue needs a record_length in bytes: its records are all of one length")
        _check("record_length", self.record_length, 1, 1 << 24)
        _check("pad", self.pad, 0, 255)
        _check("extent_pages", self.extent_pages, 1, 1 << 24)
        _check("page_size", self.page_size, MIN_PAGE, MAX_PAGE)
        if self.page_size is not None and self.page_size & (self.page_size - 1):
            raise ValueError(f"page_size is a power of two, not {self.page_size}")

    @property
    def kept_duplicates(self) -> Duplicates:
        """How several values of a key are kept."""
        return Duplicates(self.duplicates or "none")

    @property
    def guarded(self) -> bool:
        """Whether libdb calls functions of the caller's."""
        return self.compare is not None or self.compare_duplicates is not None


TUNERS = {
    "bt_minkey": "set_bt_minkey",
    "db_lorder": "set_lorder",
    "h_ffactor": "set_h_ffactor",
    "h_nelem": "set_h_nelem",
    "heap_regionsize": "set_heap_regionsize",
}
_ONLY: dict[str, tuple[AccessMethod, ...]] = {
    "duplicates": ("btree", "hash"),
    "record_numbers": ("btree",),
    "renumber": ("recno",),
    "record_length": ("recno", "queue"),
    "pad": ("recno", "queue"),
    "extent_pages": ("queue",),
    "compare": ("btree",),
    "compare_duplicates": ("btree", "hash"),
}


def _check(name: str, value: object, least: int, most: int) -> None:
    if value is not None:
        check_int(name, value, least, most)


def place_of(name: str | None, file: str | None, *, in_memory: bool) -> Place:
    """Return where a database of this name is. Raises TypeError and ValueError for names that cannot be."""
    if name is not None:
        check_name(name)
    if file is not None:
        check_file(file)
    if in_memory:
        if file is not None or name is None:
            raise ValueError("a database in memory has a name and no file")
        return Place(name, None)
    if file is not None:
        return Place(name, file)
    if name is None:
        raise ValueError("a database needs a name or a file")
    return Place(None, file_of(name))


def file_of(name: str) -> str:
    """Return the file of a database that has one to itself."""
    return f"{name}.db"


# Any, from here on: handles are the binding's.
def found_layout(handle: Any) -> Layout:
    """Return what an open database is, as its file says; comparisons are not stored in it."""
    kind: Any = type_name(handle.get_type())
    flags = handle.get_flags()
    fixed = kind == "queue" or (kind == "recno" and handle.get_re_len() > 0)
    return Layout(
        type=kind,
        duplicates="sorted" if flags & db.DB_DUPSORT else "unsorted" if flags & db.DB_DUP else None,
        record_numbers=bool(flags & db.DB_RECNUM),
        renumber=bool(flags & db.DB_RENUMBER),
        record_length=handle.get_re_len() if fixed else None,
        pad=handle.get_re_pad()[0] if fixed else None,  # a byte
        extent_pages=(handle.get_q_extentsize() or None) if kind == "queue" else None,
        page_size=handle.get_pagesize(),
        checksum=bool(flags & db.DB_CHKSUM),
    )


def open_handle(
    environment: Any, place: Place, layout: Layout, *, create: bool, encrypted: bool, read_only: bool, title: str
) -> Any:
    """Open a database and return its handle. Blocks. Raises what libdb raises, and `InvalidArgument` for a mismatch."""
    flags = db.DB_THREAD
    if read_only:
        flags |= db.DB_RDONLY
    if layout.read_uncommitted:
        flags |= db.DB_READ_UNCOMMITTED
    handle = db.DB(environment)
    try:
        if encrypted:
            handle.set_flags(db.DB_ENCRYPT)  # without it a database of an encrypted environment is stored in the clear
        _set_comparisons(handle, layout)
        if not create or layout.type is None:
            _open(environment, handle, place, db.DB_UNKNOWN, flags)
        else:
            _set_layout(handle, layout)
            try:
                _open(environment, handle, place, _TYPES[layout.type], flags | db.DB_CREATE)
            except db.DBInvalidArgError:
                _explain(environment, place, layout, encrypted=encrypted, title=title)
                raise
        _check_layout(handle, layout, title)
    except BaseException:
        handle.close()
        raise
    return handle


def _explain(environment: Any, place: Place, layout: Layout, *, encrypted: bool, title: str) -> None:
    """Raise `InvalidArgument` when a database is there and is not what was asked for; libdb speaks of flags."""
    try:
        found = open_handle(
            environment, place, Layout(type=None), create=False, encrypted=encrypted, read_only=True, title=title
        )
    except LIBDB_ERRORS:
        return
    try:
        _check_layout(found, layout, title)
    finally:
        found.close(db.DB_NOSYNC)


def _open(environment: Any, handle: Any, place: Place, kind: int, flags: int) -> None:
    # In a transaction that waits for no lock: an open that met somebody's lock on the file would wait without end.
    txn = environment.txn_begin(None, db.DB_TXN_NOWAIT)
    try:
        handle.open(place.file, place.name, kind, flags, txn=txn)
    except BaseException:
        txn.abort()
        raise
    txn.commit()


def _set_comparisons(handle: Any, layout: Layout) -> None:
    if layout.compare is not None:
        handle.set_bt_compare(guard_comparison(layout.compare))
    if layout.compare_duplicates is not None:
        handle.set_dup_compare(guard_comparison(layout.compare_duplicates))


def _set_layout(handle: Any, layout: Layout) -> None:
    flags = 0
    if layout.checksum:
        flags |= db.DB_CHKSUM
    if layout.duplicates == "sorted":
        flags |= db.DB_DUPSORT
    elif layout.duplicates == "unsorted":
        flags |= db.DB_DUP
    if layout.record_numbers:
        flags |= db.DB_RECNUM
    if layout.renumber:
        flags |= db.DB_RENUMBER
    if flags:
        handle.set_flags(flags)
    for value, setter in (
        (layout.page_size, handle.set_pagesize),
        (layout.record_length, handle.set_re_len),
        (layout.pad, handle.set_re_pad),
        (layout.extent_pages, handle.set_q_extentsize),
    ):
        if value is not None:
            setter(value)
    for name, number in layout.tuning:
        getattr(handle, TUNERS[name])(number)


def _check_layout(handle: Any, layout: Layout, title: str) -> None:
    """Refuse a database that is not what was asked for."""
    if layout.type is None:
        return
    found = type_name(handle.get_type())
    flags = handle.get_flags()
    has = "sorted" if flags & db.DB_DUPSORT else "unsorted" if flags & db.DB_DUP else None
    wrong = ""
    if found != layout.type:
        wrong = f"it is a {found}, not a {layout.type}"
    elif has != layout.duplicates:
        wrong = f"its duplicates are {has or 'none'}, not {layout.duplicates or 'none'}"
    elif layout.type == "queue" and handle.get_re_len() != layout.record_length:
        wrong = f"its record_length is {handle.get_re_len()}, not {layout.record_length}"
    if wrong:
        raise errors.InvalidArgument(doing="open", of=title, detail=wrong)
