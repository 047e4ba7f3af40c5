"""An object store for tests: the part of S3 that Delta Lake asks for, in memory."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

__all__ = ["object_store"]

BUCKET = "bucket"
ROOT = Path(__file__).resolve().parents[2]


@dataclass
class ObjectStore:
    """A bucket.

    Attributes:
        port: Where it listens on this machine.
        objects: By key, the bytes and when they were stored.
    """

    port: int = 0
    objects: dict[str, tuple[bytes, datetime]] = field(default_factory=dict)
    uploads: dict[str, dict[int, bytes]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def options(self) -> dict[str, str]:
        """Delta Lake's storage options for it."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
        }

    def put(self, key: str, data: bytes, *, only_new: bool = False) -> bool:
        """Store an object; not if it has to be new and is not."""
        with self.lock:
            if only_new and key in self.objects:
                return False
            self.objects[key] = (data, datetime.now(UTC))
            return True


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    store: ObjectStore

    def do_GET(self) -> None:
        key, asked = self._asked()
        if "list-type" in asked:
            self._list(asked)
        elif key not in self.store.objects:
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
        else:
            data, stored_at = self.store.objects[key]
            headers, status, total = _headers(data, stored_at), 200, len(data)
            wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
            if wanted:
                first = int(wanted[1]) if wanted[1] else total - int(wanted[2])
                last = min(int(wanted[2]) if wanted[1] and wanted[2] else total - 1, total - 1)
                data, status = data[first : last + 1], 206
                headers["Content-Range"] = f"bytes {first}-{last}/{total}"
            self._answer(status, data, headers)

    def do_HEAD(self) -> None:
        key, _ = self._asked()
        found = self.store.objects.get(key)
        self._answer(404) if found is None else self._answer(200, found[0], _headers(*found))

    def do_PUT(self) -> None:
        (key, asked), data = self._asked(), self._body()
        if "uploadId" in asked:
            self.store.uploads[asked["uploadId"]][int(asked["partNumber"])] = data
            self._answer(200, headers={"ETag": _etag(data)})
        elif self.store.put(key, data, only_new=self.headers.get("If-None-Match") == "*"):
            self._answer(200, headers={"ETag": _etag(data)})
        else:
            self._answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")

    def do_POST(self) -> None:
        (key, asked), body = self._asked(), self._body()
        if "uploads" in asked:
            upload = f"upload{len(self.store.uploads)}"
            self.store.uploads[upload] = {}
            names = f"<Bucket>{BUCKET}</Bucket><Key>{escape(key)}</Key><UploadId>{upload}</UploadId>"
            self._answer(200, f"<InitiateMultipartUploadResult>{names}</InitiateMultipartUploadResult>".encode())
        elif "uploadId" in asked:
            parts = self.store.uploads.pop(asked["uploadId"])
            self.store.put(key, b"".join(parts[number] for number in sorted(parts)))
            tag = escape(_etag(self.store.objects[key][0]))
            names = f"<Bucket>{BUCKET}</Bucket><Key>{escape(key)}</Key><ETag>{tag}</ETag>"
            self._answer(200, f"<CompleteMultipartUploadResult>{names}</CompleteMultipartUploadResult>".encode())
        else:  # ?delete
            keys = re.findall(r"<Key>(.*?)</Key>", body.decode())
            for one in keys:
                self.store.objects.pop(one, None)
            gone = "".join(f"<Deleted><Key>{one}</Key></Deleted>" for one in keys)
            self._answer(200, f"<DeleteResult>{gone}</DeleteResult>".encode())

    def do_DELETE(self) -> None:
        key, asked = self._asked()
        if "uploadId" in asked:
            self.store.uploads.pop(asked["uploadId"], None)
        else:
            self.store.objects.pop(key, None)
        self._answer(204)

    def _list(self, asked: dict[str, str]) -> None:
        prefix, after, delimiter = asked.get("prefix", ""), asked.get("start-after", ""), asked.get("delimiter")
        contents, folders = [], set()
        for key, (data, stored_at) in sorted(self.store.objects.items()):
            if not key.startswith(prefix) or key <= after:
                continue
            rest = key.removeprefix(prefix)
            if delimiter and delimiter in rest:
                folders.add(prefix + rest.partition(delimiter)[0] + delimiter)
                continue
            facts = f"<LastModified>{stored_at.isoformat()}</LastModified><Size>{len(data)}</Size>"
            contents.append(f"<Contents><Key>{escape(key)}</Key>{facts}<ETag>{escape(_etag(data))}</ETag></Contents>")
        common = "".join(f"<CommonPrefixes><Prefix>{escape(one)}</Prefix></CommonPrefixes>" for one in sorted(folders))
        head = f"<Name>{BUCKET}</Name><IsTruncated>false</IsTruncated><KeyCount>{len(contents)}</KeyCount>"
        self._answer(200, f"<ListBucketResult>{head}{''.join(contents)}{common}</ListBucketResult>".encode())

    def _asked(self) -> tuple[str, dict[str, str]]:
        parts = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        return unquote(parts.path).removeprefix(f"/{BUCKET}").lstrip("/"), asked

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the base's name
        """Say nothing."""


def _etag(data: bytes) -> str:
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'


def _headers(data: bytes, stored_at: datetime) -> dict[str, str]:
    return {"ETag": _etag(data), "Last-Modified": stored_at.strftime("%a, %d %b %Y %H:%M:%S GMT")}


@contextmanager
def object_store() -> Iterator[dict[str, str]]:
    """A bucket called `bucket`, in a process of its own: Delta Lake keeps Python's lock while it waits for an answer.

    Yields:
        Delta Lake's storage options for it.
    """
    command = [sys.executable, "-m", "tests.servers.object_store"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield ObjectStore(int(process.stdout.readline())).options
        finally:
            process.terminate()


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"store": ObjectStore()}))
    print(server.server_address[1], flush=True)
    server.serve_forever()
