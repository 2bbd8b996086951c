"""As much of an S3 server as pyarrow's client needs: loopback, in memory, no keys are checked."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

BUCKET = "bucket"


class S3Server(ThreadingHTTPServer):
    """``objects`` by key; ``requests`` that came; ``closed``: whether each is answered with 403."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects: dict[str, bytes] = {}
        self.parts: dict[str, dict[int, bytes]] = {}
        self.requests: list[str] = []
        self.closed = False

    @property
    def url(self) -> str:
        """Of a prefix in the bucket, as pyarrow wants it."""
        endpoint = f"127.0.0.1%3A{self.server_address[1]}"
        return f"s3://{BUCKET}/searches?endpoint_override={endpoint}&scheme=http&region=us-east-1"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: S3Server

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def handle_one_request(self) -> None:
        with contextlib.suppress(ConnectionError):
            super().handle_one_request()

    def _begin(self) -> tuple[str, dict[str, list[str]], bytes]:
        parts = urlsplit(self.path)
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = self._chunks()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if "aws-chunked" in self.headers.get("Content-Encoding", ""):
            body = _decoded(body)
        key = unquote(parts.path).removeprefix(f"/{BUCKET}").removeprefix("/")
        query = parse_qs(parts.query, keep_blank_values=True)
        self.server.requests.append(f"{self.command} {key} {' '.join(query)}".strip())
        return key, query, body

    def _chunks(self) -> bytes:
        found = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return found

    def _answer(self, code: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if self.command != "HEAD" or "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _refuse(self, code: int, name: str) -> None:
        text = f"<Error><Code>{name}</Code><Message>{name}</Message></Error>"
        self._answer(code, text.encode(), Content_Type="application/xml")

    def do_HEAD(self) -> None:
        key, _, _ = self._begin()
        if self.server.closed:
            self._refuse(403, "AccessDenied")
        elif not key:
            self._answer(200)
        elif key in self.server.objects:
            content = self.server.objects[key]
            self._answer(200, Content_Length=str(len(content)), ETag=_tag(content), **_DATED)
        else:
            self._answer(404)

    def do_GET(self) -> None:
        key, query, _ = self._begin()
        if self.server.closed:
            self._refuse(403, "AccessDenied")
        elif not key:
            self._list(query)
        elif key not in self.server.objects:
            self._refuse(404, "NoSuchKey")
        else:
            content = self.server.objects[key]
            if wanted := self.headers.get("Range"):
                first, _, last = wanted.removeprefix("bytes=").partition("-")
                part = content[int(first) : int(last) + 1 if last else None]
                span = f"bytes {first}-{int(first) + len(part) - 1}/{len(content)}"
                self._answer(206, part, Content_Range=span, ETag=_tag(content), **_DATED)
            else:
                self._answer(200, content, ETag=_tag(content), **_DATED)

    def do_PUT(self) -> None:
        key, query, body = self._begin()
        if self.server.closed:
            self._refuse(403, "AccessDenied")
        elif "partNumber" in query:
            self.server.parts[query["uploadId"][0]][int(query["partNumber"][0])] = body
            self._answer(200, ETag=_tag(body))
        elif source := self.headers.get("x-amz-copy-source"):
            content = self.server.objects[unquote(source).lstrip("/").removeprefix(f"{BUCKET}/")]
            self.server.objects[key] = content
            text = f"<CopyObjectResult><ETag>{escape(_tag(content))}</ETag></CopyObjectResult>"
            self._answer(200, text.encode(), Content_Type="application/xml")
        else:
            self.server.objects[key] = body
            self._answer(200, ETag=_tag(body))

    def do_POST(self) -> None:
        key, query, body = self._begin()
        if self.server.closed:
            self._refuse(403, "AccessDenied")
        elif "uploads" in query:
            name = f"upload-{len(self.server.parts)}"
            self.server.parts[name] = {}
            text = f"<InitiateMultipartUploadResult><Key>{escape(key)}</Key>"
            text += f"<UploadId>{name}</UploadId></InitiateMultipartUploadResult>"
            self._answer(200, text.encode(), Content_Type="application/xml")
        elif "uploadId" in query:
            parts = self.server.parts.pop(query["uploadId"][0])
            content = self.server.objects[key] = b"".join(parts[n] for n in sorted(parts))
            text = "<CompleteMultipartUploadResult><ETag>"
            text += f"{escape(_tag(content))}</ETag></CompleteMultipartUploadResult>"
            self._answer(200, text.encode(), Content_Type="application/xml")
        else:  # ?delete
            names = [e.text or "" for e in ElementTree.fromstring(body).iter() if _is_key(e)]
            for name in names:
                self.server.objects.pop(name, None)
            self._answer(200, b"<DeleteResult></DeleteResult>", Content_Type="application/xml")

    def do_DELETE(self) -> None:
        key, query, _ = self._begin()
        if self.server.closed:
            self._refuse(403, "AccessDenied")
        else:
            if "uploadId" in query:
                self.server.parts.pop(query["uploadId"][0], None)
            else:
                self.server.objects.pop(key, None)
            self._answer(204)

    def _list(self, query: dict[str, list[str]]) -> None:
        prefix = query.get("prefix", [""])[0]
        delimiter = query.get("delimiter", [""])[0]
        files, folders = [], set()
        for key in sorted(k for k in list(self.server.objects) if k.startswith(prefix)):
            rest = key[len(prefix) :]
            if delimiter and delimiter in rest:
                folders.add(prefix + rest.partition(delimiter)[0] + delimiter)
            else:
                files.append(key)
        rows = [
            f"<Contents><Key>{escape(key)}</Key><Size>{len(self.server.objects[key])}</Size>"
            "<LastModified>2026-11-23T00:00:00.000Z</LastModified></Contents>"
            for key in files
        ]
        rows += [
            f"<CommonPrefixes><Prefix>{escape(folder)}</Prefix></CommonPrefixes>"
            for folder in sorted(folders)
        ]
        text = f"<ListBucketResult><Name>{BUCKET}</Name><IsTruncated>false</IsTruncated>"
        text += f"<KeyCount>{len(rows)}</KeyCount>{''.join(rows)}</ListBucketResult>"
        self._answer(200, text.encode(), Content_Type="application/xml")


_DATED = {"Last_Modified": "Mon, 23 Nov 2026 00:00:00 GMT"}


def _is_key(element: ElementTree.Element) -> bool:
    return element.tag.rpartition("}")[2] == "Key"


def _tag(content: bytes) -> str:
    return f'"{hashlib.md5(content).hexdigest()}"'


def _decoded(body: bytes) -> bytes:
    """The content of a body in chunks, each with its signature; trailers are not checked."""
    found, at = b"", 0
    while True:
        end = body.index(b"\r\n", at)
        size = int(body[at:end].split(b";")[0], 16)
        if not size:
            return found
        found += body[end + 2 : end + 2 + size]
        at = end + 2 + size + 2


@contextlib.contextmanager
def s3_server() -> Iterator[S3Server]:
    """A server that runs while the context lasts."""
    server = S3Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
