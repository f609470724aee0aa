"""Files for asyncio: what the page cache holds is had on the spot, everything else leaves the loop thread.

Which engine serves which call, and why, is in ``docs/reference/aio-engines.md``.
"""

from __future__ import annotations

__all__: tuple[str, ...] = ()
