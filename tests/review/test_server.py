"""The page's addresses, asked as a stranger would: over a socket, by HTTP alone."""

import http.client
import json
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from finetune.bundle import Bundle
from finetune.errors import OutOfResources, UsageError
from finetune.review.begin import begin
from finetune.review.guard import HEADERS
from finetune.review.server import Server, packages

pytest.importorskip("fastapi", reason="the extra `review` is not installed")
pytest.importorskip("uvicorn", reason="the extra `review` is not installed")


class Asked:
    """A running server and what it answers."""

    def __init__(self, server: Server, output: Path) -> None:
        self.server, self.output = server, output
        split = urlsplit(server.address)
        self.port, self.token = int(split.port or 0), split.path.strip("/")

    def raw(
        self, path: str, *, method: str = "GET", body: bytes | None = None, **headers: str
    ) -> tuple[int, bytes, http.client.HTTPMessage]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.putrequest(method, path, skip_host="host" in headers)
            for name, value in headers.items():
                connection.putheader(name.replace("_", "-"), value)
            if body is not None:
                connection.putheader("content-length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.headers
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> tuple[int, bytes]:
        return self.raw(f"/{self.token}/{path}", **headers)[:2]

    def post(self, path: str, value: Any, **headers: str) -> tuple[int, Any]:
        sent = {"content_type": "application/json", **headers}
        status, data, _ = self.raw(f"/{self.token}/{path}", method="POST", body=json.dumps(value).encode(), **sent)
        return status, json.loads(data) if data.startswith((b"{", b"[")) else data


@pytest.fixture
def asked(doubtful: Path, tmp_path: Path) -> Iterator[Asked]:
    server = Server(begin(Bundle.open(doubtful), output=tmp_path / "c.csv").walk)
    thread = threading.Thread(target=server.run)
    thread.start()
    yield Asked(server, tmp_path / "c.csv")
    server.stop()
    thread.join(timeout=10)
    assert not thread.is_alive()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("", "text/html; charset=utf-8"),
        ("review.css", "text/css; charset=utf-8"),
        ("review.js", "text/javascript; charset=utf-8"),
        ("review.svg", "image/svg+xml"),
        ("summary", "application/json"),
        ("item/0", "application/json"),
        ("image/0/0", "image/jpeg"),
    ],
)
def test_who_has_the_address_is_answered_and_nothing_is_kept(path: str, kind: str, asked: Asked) -> None:
    status, data, headers = asked.raw(f"/{asked.token}/{path}")
    assert (status, headers["content-type"]) == (200, kind)
    assert data
    assert {name: headers[name] for name in HEADERS} == HEADERS
    assert headers["access-control-allow-origin"] is None
    assert headers["server"] is None


@pytest.mark.parametrize("path", ["", "summary", "item/0", "image/0/0", "review.js", "openapi.json", "docs"])
def test_without_the_token_or_with_another_nothing_is_told(path: str, asked: Asked) -> None:
    wrong = ("x" if asked.token[0] != "x" else "y") + asked.token[1:]
    for before in ("", f"{wrong}/", f"{asked.token[:-1]}/", f"{asked.token}x/", f"{asked.token.lower()}/"):
        status, data, headers = asked.raw(f"/{before}{path}")
        assert (status, data) == (403, b"this address is not the one that was given out\n")
        assert headers["cache-control"] == "no-store"
    assert asked.raw("/item/0/decide", method="POST", body=b"{}", content_type="application/json")[0] == 403


def test_the_token_is_another_each_time_and_long(asked: Asked, tmp_path: Path) -> None:
    other = Server(asked.server._walk)
    try:
        assert other.address != asked.server.address
        assert len(asked.token) >= 43  # 256 bits
    finally:
        other._socket.close()


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "127.0.0.1:{port}.evil"]
)
def test_another_name_for_this_machine_is_refused(host: str, asked: Asked) -> None:
    assert asked.get("summary", host=host.format(port=asked.port))[0] == 403


def test_the_names_of_this_machine_are_taken(asked: Asked) -> None:
    for name in ("127.0.0.1", "localhost"):
        assert asked.get("summary", host=f"{name}:{asked.port}")[0] == 200


def test_what_another_page_sends_is_refused(asked: Asked) -> None:
    body = {"choices": [{"image": 0, "action": "exclude"}]}
    assert asked.post("item/0/decide", body, origin="https://evil.example")[0] == 403
    assert not asked.output.exists()
    assert asked.post("item/0/decide", body, origin=f"http://127.0.0.1:{asked.port}")[0] == 200
    assert asked.output.exists()


@pytest.mark.parametrize(
    "path",
    [
        "../../../etc/passwd",
        "..%2f..%2fetc%2fpasswd",
        "image/0/../../review.py",
        "image/..%2f..%2f0/0",
        "image/0/%2e%2e",
        "image/-1/0",
        "image/0/-1",
        "image/0/1",
        "image/999/0",
        "image/a/0",
        "image/0/0/0",
        "image//etc/passwd",
        "review.py",
        "templates/review.html",
        "item/99999999999999999999",
    ],
)
def test_no_path_leads_anywhere_else(path: str, asked: Asked) -> None:
    status, data = asked.get(path)
    assert status in (404, 409, 422)
    assert b"root:" not in data


def test_a_decision_is_recorded_and_taken_back(asked: Asked) -> None:
    status, done = asked.post("item/0/decide", {"choices": [{"image": 0, "action": "exclude"}]})
    assert (status, done["progress"]["exclude"]) == (200, 1)
    assert asked.output.read_text().count("\n") == 2
    assert asked.post("undo", {})[1]["number"] == 0
    assert asked.output.read_text() == "path,action,label\n"


def test_what_is_no_choice_is_refused_in_words(asked: Asked) -> None:
    assert asked.post("item/0/decide", {"choices": [{"image": 0, "action": "delete"}]})[0] == 422
    status, said = asked.post("item/0/decide", {"choices": [{"image": 7, "action": "keep"}]})
    assert (status, said) == (409, {"message": "there is no image 7 in this item; it has 1"})
    assert asked.post("item/0/decide", ["x"], content_type="text/plain")[0] in (415, 422)
    assert not asked.output.exists()


def test_the_page_ends_the_server(doubtful: Path, tmp_path: Path) -> None:
    server = Server(begin(Bundle.open(doubtful), output=tmp_path / "c.csv").walk)
    thread = threading.Thread(target=server.run)
    thread.start()
    status, said = Asked(server, tmp_path).post("end", {})
    thread.join(timeout=10)
    assert (status, said["decided"]) == (200, 0)
    assert not thread.is_alive()


def test_only_this_machine_is_listened_to(asked: Asked) -> None:
    assert asked.server._socket.getsockname()[0] == "127.0.0.1"


def test_a_port_that_is_taken_is_named(asked: Asked) -> None:
    with pytest.raises(OutOfResources, match=rf"port {asked.port} of 127.0.0.1 cannot be had .*in use.*--port"):
        Server(asked.server._walk, port=asked.port)


def test_a_port_can_be_chosen(asked: Asked) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = Server(asked.server._walk, port=port)
    server._socket.close()
    assert f":{port}/" in server.address


def test_without_the_extra_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(UsageError, match=r"pip install 'finetune-vision\[review\]'"):
        packages()
