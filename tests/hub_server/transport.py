"""HTTP on a loopback socket: bytes in, a `Request` to an app, its `Response` out."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs

from tests.hub_server.faults import Fault, FaultPlan
from tests.hub_server.messages import HubError, Request, Response
from tests.hub_server.record import OriginName, RecordedRequest, RequestLog
from tests.hub_server.spool import read_body

App = Callable[[Request], Response]

HOST = "127.0.0.1"


class Origin:
    """One port of its own, hence one web origin of its own.

    The port is bound at once, so that apps which name each other's address can be built before
    either answers; requests wait in the socket's queue until `start`.
    """

    def __init__(self, name: OriginName, log: RequestLog, faults: FaultPlan) -> None:
        self._listener = _Listener(name, log, faults)
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self._listener.port}"

    @property
    def failures(self) -> tuple[BaseException, ...]:
        """Exceptions that the app raised and that are therefore bugs in it."""
        return tuple(self._listener.failures)

    def start(self, app: App) -> None:
        self._listener.app = app
        self._thread = threading.Thread(
            # The interval is how long `close` may wait; the default of half a second adds up.
            target=self._listener.serve_forever,
            kwargs={"poll_interval": 0.02},
            name=f"origin-{self._listener.name}",
            daemon=True,
        )
        self._thread.start()

    def close(self) -> None:
        if self._thread is not None:
            self._listener.shutdown()
            self._thread.join()
        self._listener.server_close()


class _Listener(socketserver.ThreadingTCPServer):
    """Accepts connections. Not http.server's own class, which looks up the host's name."""

    daemon_threads = True
    request_queue_size = 128  # snapshot downloads open many connections at once

    def __init__(self, name: OriginName, log: RequestLog, faults: FaultPlan) -> None:
        super().__init__((HOST, 0), _Handler)
        self.name = name
        self.log = log
        self.faults = faults
        self.closing = threading.Event()
        self.app: App
        self.failures: list[BaseException] = []
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()

    @property
    def port(self) -> int:
        return int(self.socket.getsockname()[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._open_lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._open_lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        self.closing.set()
        super().server_close()
        # Kept-alive connections would go on being answered by a Hub that is meant to be gone.
        with self._open_lock:
            for connection in self._open:
                with contextlib.suppress(OSError):  # the peer may have closed it already
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exc_info()[1]
        # A client may go away whenever it likes; anything else is a bug here and must show.
        if error is not None and not isinstance(error, ConnectionError):
            self.failures.append(error)
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """Reads requests off one connection and writes the app's answers."""

    server: _Listener
    protocol_version = "HTTP/1.1"
    # Headers and body are written apart: with Nagle's algorithm every answer would take 40 ms.
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._serve()

    def do_HEAD(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def _serve(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        recorded = RecordedRequest(
            origin=self.server.name,
            host=HOST,
            port=self.server.port,
            method=self.command,
            path=self.path,
            headers=headers,
            body_size=int(headers.get("content-length", "0")),
        )
        self.server.log.add(recorded)
        fault = self.server.faults.next(recorded)
        if "transfer-encoding" in headers:
            # Unread chunks would be taken for the next request on this connection.
            self.close_connection = True
            self._send(HubError(411, "a body must come with its Content-Length").response())
        elif fault is None:
            self._send(self.server.app(self._request(recorded)))
        else:
            self._fail(fault, recorded)

    def _request(self, recorded: RecordedRequest) -> Request:
        # Not urlsplit: it takes a path that begins with two slashes for a host.
        path, _, query = recorded.path.partition("?")
        body = read_body(self.rfile, recorded.body_size)
        if self.server.log.bodies is not None:
            self.server.log.bodies.append(bytes(body))
        return Request(
            method=recorded.method,
            path=path,
            query=parse_qs(query, keep_blank_values=True),
            headers=recorded.headers,
            body=body,
        )

    def _fail(self, fault: Fault, recorded: RecordedRequest) -> None:
        if fault.kind.startswith("cut"):
            self.close_connection = True
        if fault.kind == "cut":
            self.rfile.read(min(fault.read_bytes, recorded.body_size))
            return
        request = self._request(recorded)
        if fault.kind == "answer":
            self._send(fault.response())
        elif fault.kind == "cut_answer":
            self.server.app(request)
        elif fault.kind == "cut_middle":
            self._send(self.server.app(request), until_middle=True)
        elif not self.server.closing.wait(fault.seconds):
            self._send(self.server.app(request))

    def _send(self, response: Response, *, until_middle: bool = False) -> None:
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(response.body)))
        body = b"" if self.command == "HEAD" else response.body
        if not until_middle:
            self.end_headers()
            self.wfile.write(body)
        elif len(body) > 1:
            self.end_headers()
            self.wfile.write(body[: len(body) // 2])
        else:
            self.flush_headers()  # without the empty line after them: there is no other middle

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on stderr: the request log holds more than these lines would."""
