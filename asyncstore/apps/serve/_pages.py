"""What people see: the front page and the listings of directories, and the same listings as JSON.

Plain HTML that works without scripts and loads nothing from elsewhere; the policy that is sent along forbids both.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any
from urllib.parse import quote_from_bytes

from asyncstore.http import Request, Response

from ._names import encode
from ._tree import Entry

__all__ = ("front_page", "html_response", "json_response", "listing_json", "listing_page", "wants_json")

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --accent: #0b62c4; }
@media (prefers-color-scheme: dark) { :root { --accent: #7ab8ff; } }
* { box-sizing: border-box; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 56rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
a { color: var(--accent); }
h1 { font-size: 1.5rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .35rem .5rem; border-bottom: 1px solid var(--line); vertical-align: top; }
td:first-child { overflow-wrap: anywhere; }
th.number, td.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
form { border: 1px solid var(--line); border-radius: .5rem; padding: 1rem; display: flex; gap: .75rem; flex-wrap: wrap;
  align-items: end; }
label { display: block; font-weight: 600; }
input, button { font: inherit; }
button { padding: .35rem 1rem; }
pre { overflow-x: auto; padding: .75rem 1rem; border: 1px solid var(--line); border-radius: .5rem; }
code { font-family: ui-monospace, monospace; font-size: .9em; }
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HTML_HEADERS = (
    ("content-type", "text/html; charset=utf-8"),
    (
        "content-security-policy",
        (
            f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; img-src data:; form-action 'self'; "
            "base-uri 'none'; frame-ancestors 'none'"
        ),
    ),
    ("x-content-type-options", "nosniff"),
    # Nothing to other sites; but a form must say where it comes from, and with "no-referrer" its Origin is "null".
    ("referrer-policy", "same-origin"),
    ("cache-control", "no-cache"),
    ("vary", "accept"),
)
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


def wants_json(request: Request, query: dict[bytes, bytes]) -> bool:
    """Tell whether the client asks for JSON: ``format=json``, or an Accept that names it and not HTML."""
    if query.get(b"format") == b"json":
        return True
    accept = (request.text_header(b"accept") or "").lower()
    return "application/json" in accept and "text/html" not in accept


def html_response(title: str, body: str, status: int = 200) -> Response:
    """Return a whole page around `body`, which is HTML."""
    page = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<link rel="icon" href="data:,">\n'  # none: browsers would ask for /favicon.ico
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
    )
    return Response(status, _HTML_HEADERS, page.encode("utf-8", "replace"))


def json_response(value: Any, status: int = 200) -> Response:  # Any: whatever json can write
    """Return `value` as JSON."""
    headers = (
        ("content-type", "application/json"),
        ("x-content-type-options", "nosniff"),
        ("cache-control", "no-cache"),
        ("vary", "accept"),
    )
    return Response(status, headers, json.dumps(value, indent=1).encode() + b"\n")


def _shown(name: bytes) -> str:
    """Return a name as people read it; what is no UTF-8 is shown as replacement characters."""
    return name.decode("utf-8", "replace")


def _size(size: int) -> str:
    amount = float(size)
    for unit in _UNITS:
        if amount < 1024 or unit == _UNITS[-1]:
            return f"{amount:.0f} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1024
    raise AssertionError(size)  # the last unit returns


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _upload_form(directory: str) -> str:
    return (
        f'<h2 id="upload">Upload</h2>\n<form method="post" action="{escape(directory)}" enctype="multipart/form-data" '
        'aria-labelledby="upload">\n<div><label for="file">Files to store here</label>\n'
        '<input type="file" id="file" name="file" multiple required></div>\n'
        '<button type="submit">Upload</button>\n</form>\n<p>A file of the same name is replaced.</p>\n'
    )


def _breadcrumbs(names: Sequence[bytes]) -> str:
    crumbs = ['<a href="/">asyncstore</a>', '<a href="/files/">files</a>']
    url = "/files/"
    for name in names:
        url += encode([name]) + "/"
        crumbs.append(f'<a href="{escape(url)}">{escape(_shown(name))}</a>')
    return '<nav aria-label="Path">' + " / ".join(crumbs) + "</nav>\n"


def _row(entry: Entry) -> str:
    slash = "/" if entry.is_directory else ""
    size = "" if entry.size is None else _size(entry.size)
    when = _time(entry.modified)
    # "./": a name with a colon in it would otherwise be taken for a scheme.
    return (
        f'<tr><td><a href="./{escape(encode([entry.name]))}{slash}">{escape(_shown(entry.name))}{slash}</a></td>'
        f'<td class="number">{size}</td><td class="number">'
        f'<time datetime="{when:%Y-%m-%dT%H:%M:%SZ}">{when:%Y-%m-%d %H:%M}</time></td></tr>\n'
    )


def _next_query(last: bytes, limit: int) -> str:
    return f"?after={quote_from_bytes(last, safe='')}&limit={limit}"


def listing_page(
    names: Sequence[bytes], entries: Sequence[Entry], *, more: bool, limit: int, writable: bool
) -> Response:
    """Return the HTML page of a directory; `more` entries lie behind the last one of `entries`."""
    directory = "/files/" + "".join(encode([name]) + "/" for name in names)
    title = _shown(b"/".join(names)) or "files"
    parts = [_breadcrumbs(names), f"<main>\n<h1>{escape(title)}</h1>\n"]
    if entries:
        parts.append(
            '<table>\n<thead><tr><th scope="col">Name</th><th scope="col" class="number">Size</th>'
            '<th scope="col" class="number">Changed (UTC)</th></tr></thead>\n<tbody>\n'
        )
        parts.extend(map(_row, entries))
        parts.append("</tbody>\n</table>\n")
    else:
        parts.append("<p>Nothing is here yet.</p>\n")
    if more:
        parts.append(f'<p><a rel="next" href="{escape(_next_query(entries[-1].name, limit))}">Next page</a></p>\n')
    if writable:
        parts.append(_upload_form(directory))
    parts.append("</main>\n")
    return html_response(title, "".join(parts))


def listing_json(
    names: Sequence[bytes], entries: Sequence[Entry], *, more: bool, limit: int, writable: bool
) -> Response:
    """Return the same listing as JSON. `href` leads to the entry whatever bytes its name has."""
    directory = "/files/" + "".join(encode([name]) + "/" for name in names)
    listed = [
        {
            "name": _shown(entry.name),
            "href": directory + encode([entry.name]) + ("/" if entry.is_directory else ""),
            "type": "directory" if entry.is_directory else "file",
            "size": entry.size,
            "modified": f"{_time(entry.modified):%Y-%m-%dT%H:%M:%S.%fZ}",
        }
        for entry in entries
    ]
    following = directory + _next_query(entries[-1].name, limit) if more and entries else None
    return json_response({"path": directory, "writable": writable, "entries": listed, "next": following})


def front_page(*, authority: str, databases: Sequence[str], kv_problem: str | None, writable: bool) -> Response:
    """Return the page that says what is here. `authority` is the host that the client asked for."""
    base = escape(f"http://{authority}")
    keys = (
        f"<p>{escape(kv_problem)}</p>\n"
        if kv_problem
        else "<p>Byte strings under keys, in databases that are made when first written to. "
        "A write is on the disk when it is answered.</p>\n"
    )
    if databases:
        items = "".join(f'<li><a href="/kv/{escape(name)}?limit=100">{escape(name)}</a></li>\n' for name in databases)
        keys += f"<ul>\n{items}</ul>\n"
    store, put = "", ""
    if writable:
        store = f"# store a file\ncurl -T photo.jpg {base}/files/holiday/\n\n"
        put = f"curl -X PUT --data-binary hello {base}/kv/notes/first\n"
    examples = (
        f"{store}# list a folder; for a program: -H 'accept: application/json'\ncurl {base}/files/\n\n"
        f"# keys\n{put}curl {base}/kv/notes/first\ncurl '{base}/kv/notes?prefix=f&amp;limit=10'\n"
    )
    body = (
        "<main>\n<h1>asyncstore</h1>\n<p>This server keeps files and keys.</p>\n"
        '<h2>Files</h2>\n<p><a href="/files/">Browse the files</a></p>\n'
        + (_upload_form("/files/") if writable else "<p>They can be read here, not changed.</p>\n")
        + f"<h2>Keys</h2>\n{keys}<h2>For programs</h2>\n<pre><code>{examples}</code></pre>\n"
        '<h2>State</h2>\n<ul>\n<li><a href="/healthz">Health</a></li>\n'
        '<li><a href="/metrics">Metrics for Prometheus</a></li>\n</ul>\n</main>\n'
    )
    return html_response("asyncstore", body)
