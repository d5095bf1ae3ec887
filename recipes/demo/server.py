"""A web server for one folder, which nobody but this machine reaches."""

from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

HOST, PORT = "127.0.0.1", 8000


class _Handler(SimpleHTTPRequestHandler):
    # Whatever the system's own table says: browsers refuse modules of another type.
    extensions_map = SimpleHTTPRequestHandler.extensions_map | {
        ".js": "text/javascript",
        ".json": "application/json",
        ".wasm": "application/wasm",
        ".tflite": "application/octet-stream",
    }

    def parse_request(self) -> bool:
        """Refuses what asks for another host: a page of elsewhere whose name was pointed to this machine."""
        if not super().parse_request():
            return False
        if (self.headers.get("Host") or "").rsplit(":", 1)[0] not in (HOST, "localhost"):
            self.send_error(403)
            return False
        return True

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-cache")  # a demo that is written again is shown again
        super().end_headers()

    def log_message(self, *arguments: Any) -> None:
        """Nothing is logged."""


def server_of(folder: str | Path) -> ThreadingHTTPServer:
    """A server of a folder's files at 127.0.0.1, at the port 8000 or, if that is taken, at any; not started yet."""
    handler = partial(_Handler, directory=str(folder))
    try:
        return ThreadingHTTPServer((HOST, PORT), handler)
    except OSError:
        return ThreadingHTTPServer((HOST, 0), handler)
