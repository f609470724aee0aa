"""``asyncstore serve``: files and keys over HTTP/1.1.

`main` is the program; `Service` is the same server for programs that run it inside themselves::

    async with Service(Options(root="public", data="data/kv", port=0)) as service:
        print(service.url)

Needs ``httptools`` (``pip install 'asyncstore[http]'``); keys need the ``bdb`` extra as well.
"""

from __future__ import annotations

from ._main import main as main
from ._options import Options as Options
from ._service import Service as Service

__all__ = ("Options", "Service", "main")
