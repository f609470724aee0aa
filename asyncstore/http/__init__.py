"""HTTP/1.1: the server, and the words that applications on it use.

Needs ``httptools`` (``pip install 'asyncstore[http]'``).
"""

from __future__ import annotations

from ._conditions import (
    Validators as Validators,
    Verdict as Verdict,
    evaluate as evaluate,
    range_holds as range_holds,
)
from ._dates import format_date as format_date, parse_date as parse_date
from ._limits import Limits as Limits
from ._messages import (
    App as App,
    Request as Request,
    RequestBody as RequestBody,
    Response as Response,
    ResponseBody as ResponseBody,
    parse_query as parse_query,
)
from ._multipart import (
    MultipartDecoder as MultipartDecoder,
    PartBegin as PartBegin,
    PartData as PartData,
    PartEnd as PartEnd,
    form_boundary as form_boundary,
)
from ._ranges import (
    Span as Span,
    Unsatisfiable as Unsatisfiable,
    multipart_layout as multipart_layout,
    parse_ranges as parse_ranges,
)
from ._server import (
    Exchange as Exchange,
    Server as Server,
    ServerStatistics as ServerStatistics,
    plain_response as plain_response,
    raise_descriptor_limit as raise_descriptor_limit,
)
from .errors import (
    ClientDisconnected as ClientDisconnected,
    HTTPError as HTTPError,
    InvalidMessage as InvalidMessage,
    ProtocolError as ProtocolError,
)

__all__ = (
    "App",
    "ClientDisconnected",
    "Exchange",
    "HTTPError",
    "InvalidMessage",
    "Limits",
    "MultipartDecoder",
    "PartBegin",
    "PartData",
    "PartEnd",
    "ProtocolError",
    "Request",
    "RequestBody",
    "Response",
    "ResponseBody",
    "Server",
    "ServerStatistics",
    "Span",
    "Unsatisfiable",
    "Validators",
    "Verdict",
    "evaluate",
    "form_boundary",
    "format_date",
    "multipart_layout",
    "parse_date",
    "parse_query",
    "parse_ranges",
    "plain_response",
    "raise_descriptor_limit",
    "range_holds",
)
