"""A web server on 127.0.0.1 that behaves as it is told, well or badly, and remembers what it was asked."""

from __future__ import annotations

import io
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Answer = Callable[[BaseHTTPRequestHandler], None]


def a_photograph(seed: int = 0, size: tuple[int, int] = (64, 48), kind: str = "JPEG") -> bytes:
    """A picture of noise, so that it is some kilobytes long."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


class Museum:
    """The server: what it answers at each path, one answer after the other, the last one for ever."""

    def __init__(self, port: int, scheme: str) -> None:
        self.base = f"{scheme}://127.0.0.1:{port}"
        self.port = port
        self.answers: dict[str, list[Answer]] = {}
        self.asked: list[tuple[float, str, dict[str, str]]] = []
        self.at_once = self.most_at_once = 0

    def __setitem__(self, path: str, answers: Answer | bytes | list[Answer]) -> None:
        if isinstance(answers, bytes):
            answers = send(answers)
        self.answers[path] = answers if isinstance(answers, list) else [answers]

    def paths(self) -> list[str]:
        return [path for _, path, _ in self.asked if path != "/robots.txt"]

    def headers(self, path: str) -> list[dict[str, str]]:
        return [headers for _, asked, headers in self.asked if asked == path]


def send(body: bytes, *, kind: str = "image/jpeg", status: int = 200, **headers: str) -> Answer:
    """An honest answer, which can be continued."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        begin = 0
        if (asked := request.headers.get("Range")) and request.headers.get("If-Range") == headers.get("ETag"):
            begin = int(asked.removeprefix("bytes=").rstrip("-"))
        if begin >= len(body) > 0:
            request.send_response(416)
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        request.send_response(206 if begin else status)
        request.send_header("Content-Type", kind)
        request.send_header("Content-Length", str(len(body) - begin))
        if begin:
            request.send_header("Content-Range", f"bytes {begin}-{len(body) - 1}/{len(body)}")
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.end_headers()
        request.wfile.write(body[begin:])

    return answer


def refuse(status: int, **headers: str) -> Answer:
    return send(b"no", kind="text/plain", status=status, **headers)


def redirect(target: str, status: int = 302) -> Answer:
    return send(b"", status=status, Location=target)


def break_off(body: bytes, after: int, **headers: str) -> Answer:
    """Promises all of it, and hangs up."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Type", "image/jpeg")
        request.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body[:after])
        request.close_connection = True

    return answer


def without_length(body: bytes, *, chunked: bool = False) -> Answer:
    """Says no length: ends when the connection does, or in chunks."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Type", "image/jpeg")
        if chunked:
            request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        if chunked:
            for start in range(0, len(body), 1000):
                block = body[start : start + 1000]
                request.wfile.write(f"{len(block):x}\r\n".encode() + block + b"\r\n")
            request.wfile.write(b"0\r\n\r\n")
        else:
            request.wfile.write(body)
        request.close_connection = True

    return answer


@contextmanager
def open_museum(certificate: Path | None = None) -> Iterator[Museum]:
    """Run the server; with a certificate it speaks https."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            with lock:
                museum.asked.append((time.monotonic(), self.path, dict(self.headers.items())))
                museum.at_once += 1
                museum.most_at_once = max(museum.most_at_once, museum.at_once)
                answers = museum.answers.get(self.path, [refuse(404)])
                answer = answers.pop(0) if len(answers) > 1 else answers[0]
            try:
                answer(self)
                self.wfile.flush()
            except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
                self.close_connection = True
            finally:
                with lock:
                    museum.at_once -= 1

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # A client that hangs up.

    server = Server(("127.0.0.1", 0), Handler)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    museum = Museum(server.server_address[1], "https" if certificate else "http")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield museum
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
