"""A small hub on loopback: what ``huggingface_hub`` asks of the real one, with faults to order."""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Faults:
    """What goes wrong, by file name."""

    drop_after: dict[str, int] = field(default_factory=dict)
    """Bytes after which the connection closes, the first time the file is fetched."""
    always_drop: bool = False
    """Drop every time, with no byte sent."""
    corrupt: set[str] = field(default_factory=set)
    """Files that are announced with their hash but sent with a byte changed."""


@dataclass
class Hub:
    """The models served, each a dictionary of files, and what was asked for."""

    models: dict[str, dict[str, bytes]]
    revisions: dict[str, str] = field(default_factory=lambda: {"main": COMMIT})
    faults: Faults = field(default_factory=Faults)
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    """Method, file and Range of every request for a file."""
    endpoint: str = ""


LARGE = 1000
"""Files from this size are stored with a sha256, as the hub's large files are."""


def etag(content: bytes) -> str:
    """What the hub calls a file: sha256 of large ones, git's hash of small ones."""
    if len(content) >= LARGE:
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Serve ``hub`` at ``hub.endpoint`` for a while."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def refuse(self, error: str, **headers: str) -> None:
            self.send_response(404)
            self.send_header("X-Error-Code", error)
            self.send_header("Content-Length", "0")
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()

        def answer(self, body: bool) -> None:
            path = re.fullmatch(r"/([\w-]+/[\w.-]+)/resolve/([^/]+)/(.+)", self.path)
            if path is None or path[1] not in hub.models:
                return self.refuse("RepoNotFound")
            model, revision, name = path.groups()
            commit = revision if revision in hub.revisions.values() else hub.revisions.get(revision)
            hub.requests.append((self.command, name, self.headers["Range"]))
            if commit is None:
                return self.refuse("RevisionNotFound")
            content = hub.models[model].get(name)
            if content is None:
                return self.refuse("EntryNotFound", X_Repo_Commit=commit)
            start = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "bytes=0-")
            assert start is not None
            first = int(start[1])
            self.send_response(206 if first else 200)
            self.send_header("X-Repo-Commit", commit)
            self.send_header("ETag", f'"{etag(content)}"')
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(len(content) - first))
            if first:
                self.send_header(
                    "Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}"
                )
            self.end_headers()
            if body:
                self.send(name, content, first)

        def send(self, name: str, content: bytes, first: int) -> None:
            if name in hub.faults.corrupt:
                content = content[:-1] + bytes([content[-1] ^ 1])
            end = hub.faults.drop_after.get(name, len(content))
            if name in hub.faults.drop_after:
                self.close_connection = True
                if not hub.faults.always_drop:
                    del hub.faults.drop_after[name]
            self.wfile.write(content[first:end])

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
