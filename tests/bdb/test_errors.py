"""The errors: each libdb number a caller can act on has a class, a sentence and its cause."""

from __future__ import annotations

import errno
import pickle
import subprocess
import sys

import pytest

import asyncstore.errors as shared
from asyncstore.bdb._library import db as libdb
from asyncstore.bdb._translate import translate, translated
from tests.bdb.binding import bdb

CASES = [
    (libdb.DB_LOCK_DEADLOCK, bdb.errors.Deadlock, shared.Busy, True),
    (libdb.DB_LOCK_NOTGRANTED, bdb.errors.LockTimeout, TimeoutError, True),
    (libdb.DB_KEYEXIST, bdb.errors.KeyExists, bdb.errors.Error, False),
    (libdb.DB_KEYEMPTY, bdb.errors.KeyEmpty, LookupError, False),
    (libdb.DB_NOTFOUND, bdb.errors.NotFound, LookupError, False),
    (libdb.DB_RUNRECOVERY, bdb.errors.NeedsRecovery, ConnectionError, False),
    (libdb.DB_VERIFY_BAD, bdb.errors.Corrupt, shared.Broken, False),
    (libdb.DB_PAGE_NOTFOUND, bdb.errors.Corrupt, shared.Broken, False),
    (libdb.DB_OLD_VERSION, bdb.errors.WrongVersion, bdb.errors.Error, False),
    (libdb.DB_VERSION_MISMATCH, bdb.errors.WrongVersion, bdb.errors.Error, False),
    (errno.ENOSPC, bdb.errors.DiskFull, OSError, True),
    (errno.EDQUOT, bdb.errors.DiskFull, OSError, True),
    (errno.EFBIG, bdb.errors.DiskFull, OSError, True),
    (errno.EACCES, bdb.errors.AccessDenied, PermissionError, False),
    (errno.ENOENT, bdb.errors.NoSuchFile, FileNotFoundError, False),
    (errno.EEXIST, bdb.errors.FileExists, FileExistsError, False),
    (errno.EBUSY, bdb.errors.InUse, shared.Busy, True),
    (errno.ENOMEM, bdb.errors.OutOfMemory, MemoryError, False),
    (errno.EINVAL, bdb.errors.InvalidArgument, ValueError, False),
    (errno.EIO, bdb.errors.IOFailure, OSError, False),
    (errno.ENOTDIR, bdb.errors.IOFailure, OSError, False),
    (-30999, bdb.errors.Error, shared.Error, False),
]


@pytest.mark.parametrize(("code", "kind", "base", "retryable"), CASES)
def test_a_number_of_libdb_becomes_its_class(code, kind, base, retryable):
    raised = libdb.DBError(code, "what libdb said")
    error = translate(raised, doing="put", of="database 'a'")
    assert type(error) is kind
    assert isinstance(error, base)
    assert isinstance(error, shared.Error)
    assert error.retryable is retryable
    assert error.code == code
    assert error.__cause__ is raised
    assert str(error) == f"put database 'a': {kind.sentence} (libdb: what libdb said)"
    if isinstance(error, OSError) and code > 0:
        assert error.errno == code


@pytest.mark.parametrize("code", [case[0] for case in CASES])
def test_errors_pickle(code):
    error = translate(libdb.DBError(code, "said"), doing="put", of="x")
    error.maybe_applied = True
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert (str(copy), copy.code, copy.maybe_applied) == (str(error), error.code, True)


def test_a_memory_error_of_the_interpreter_stays_what_it_is():
    with pytest.raises(MemoryError) as caught, translated("put", "x"):
        raise MemoryError
    assert not isinstance(caught.value, bdb.errors.Error)


async def test_a_damaged_file_is_called_damaged(env, tmp_path):
    (tmp_path / "home" / "bad.db").write_bytes(b"no database" * 1000)
    with pytest.raises(bdb.errors.Corrupt, match="damaged or is no Berkeley DB file"):
        await env.database("bad")


async def test_a_home_that_is_a_file_is_an_os_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="open environment") as caught:
        await bdb.open(tmp_path / "file")
    assert isinstance(caught.value, bdb.errors.Error)


def test_the_missing_package_is_explained():
    code = "import sys; sys.modules['berkeleydb'] = None; import asyncstore.bdb"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ImportError: asyncstore.bdb needs the berkeleydb package: pip install 'asyncstore[bdb]'" in done.stderr
