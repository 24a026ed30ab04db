"""A small hub on loopback: what ``huggingface_hub`` asks of the real one, with faults to order."""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import huggingface_hub.constants
import huggingface_hub.file_download
import huggingface_hub.utils._http
import pytest

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
    """What is served, each repository a dictionary of files, and what was asked for."""

    models: dict[str, dict[str, bytes]]
    revisions: dict[str, str] = field(default_factory=lambda: {"main": COMMIT})
    datasets: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """Of a commit that differs: under ``ID@COMMIT``."""
    gated: set[str] = field(default_factory=set)
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


def tree(files: dict[str, bytes], start: str, below: bool) -> Iterator[dict[str, Any]]:
    """What the hub lists of a folder: the files in it, and the folders; by ``below``, all below."""
    folders = set()
    for name, content in files.items():
        if not name.startswith(start):
            continue
        if "/" in (inner := name.removeprefix(start)) and not below:
            folders.add(start + inner.split("/")[0])
            continue
        row = {"type": "file", "path": name, "size": len(content), "oid": "0" * 40}
        if len(content) >= LARGE:
            row["lfs"] = {"oid": etag(content), "size": len(content), "pointerSize": 130}
        else:
            row["oid"] = etag(content)
        yield row
    yield from ({"type": "directory", "path": name, "oid": "0" * 40} for name in sorted(folders))


@contextmanager
def asked_here(hub: Hub, cache: Path, patch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Serve ``hub``, which the client in this process asks: an empty cache, small pieces, and no
    wait between attempts."""
    constants = huggingface_hub.constants
    patch.setattr(constants, "HF_HUB_CACHE", str(cache))
    patch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1024)
    no_wait = SimpleNamespace(sleep=lambda _: None)
    for module in (huggingface_hub.file_download, huggingface_hub.utils._http):
        patch.setattr(module, "time", no_wait)
    template = "/{repo_id}/resolve/{revision}/{filename}"
    with serving(hub):
        patch.setattr(constants, "ENDPOINT", hub.endpoint)
        patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.endpoint + template)
        yield hub


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

        def refuse(self, error: str, status: int = 404, **headers: str) -> None:
            self.send_response(status)
            self.send_header("X-Error-Code", error)
            self.send_header("Content-Length", "0")
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()

        def tell(self, value: object) -> None:
            content = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def files(self, repository: str, commit: str) -> dict[str, bytes] | None:
            kinds = hub.models | {f"datasets/{name}": one for name, one in hub.datasets.items()}
            return kinds.get(f"{repository}@{commit}", kinds.get(repository))

        def commit(self, revision: str) -> str | None:
            known = revision in hub.revisions.values()
            return revision if known else hub.revisions.get(revision)

        def answer(self, body: bool) -> None:
            asked = urlsplit(self.path)
            if api := re.fullmatch(
                r"/api/(datasets/[\w-]+/[\w.-]+)/(revision|tree)/([^/]+)/?(.*)", asked.path
            ):
                repository, what, revision, folder = map(unquote, api.groups())
                hub.requests.append((self.command, what, None))
                commit = self.commit(revision)
                files = self.files(repository, commit or "")
                if files is None:
                    return self.refuse("RepoNotFound")
                if commit is None:
                    return self.refuse("RevisionNotFound")
                if what in hub.faults.drop_after:
                    self.close_connection = True
                    return None
                if what == "revision":
                    return self.tell({"id": repository.removeprefix("datasets/"), "sha": commit})
                start = f"{folder}/" if folder else ""
                below = parse_qs(asked.query).get("recursive") == ["true"]
                rows = list(tree(files, start, below))
                return self.tell(rows) if rows else self.refuse("EntryNotFound")
            path = re.fullmatch(r"/((?:datasets/)?[\w-]+/[\w.-]+)/resolve/([^/]+)/(.+)", asked.path)
            repository = path[1] if path else ""
            if path is None or self.files(repository, "") is None:
                return self.refuse("RepoNotFound")
            revision, name = map(unquote, path.groups()[1:])
            hub.requests.append((self.command, name, self.headers["Range"]))
            if repository in hub.gated:
                return self.refuse("GatedRepo", 403)
            commit = self.commit(revision)
            if commit is None:
                return self.refuse("RevisionNotFound")
            content = (self.files(repository, commit) or {}).get(name)
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
