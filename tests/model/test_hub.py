"""The hub as a small server on this machine: nothing here leaves it."""

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub
import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save

from finetune.errors import Offline, OutOfResources, WeightsError
from finetune.model import hub
from finetune.model.hub import HubFile

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPOSITORY = "timm/test_resnet.r160_in1k"
WEIGHTS = save({"a": torch.ones(2)})
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()


class Answers(BaseHTTPRequestHandler):
    """Gives one file of one repository; another repository is hidden, a third one is broken."""

    requests: list[str]
    size = len(WEIGHTS)

    def do_HEAD(self) -> None:
        self.requests.append(f"{self.command} {self.path}")
        status = 200 if REPOSITORY in self.path else 503 if "broken" in self.path else 404
        self.send_response(status)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{SHA256}"')
        self.send_header("Content-Length", str(self.size if status == 200 else 0))
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        self.wfile.write(WEIGHTS)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache of the hub's."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    yield tmp_path / "hub"
    huggingface_hub.close_session()


@pytest.fixture
def reach(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A function that makes an address that of the hub."""

    def to(address: str) -> None:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
        )

    return to


@pytest.fixture
def server(reach: Callable[[str], None]) -> Iterator[type[Answers]]:
    """A hub that answers, and the requests that it got."""

    class Now(Answers):
        pass

    Now.requests = []
    listening = ThreadingHTTPServer(("127.0.0.1", 0), Now)
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    reach(f"http://127.0.0.1:{listening.server_port}")
    yield Now
    listening.shutdown()
    listening.server_close()
    thread.join()


def put_in_cache(cache: Path, data: bytes, *, digest: str = SHA256) -> Path:
    """What a download leaves: a file named by its hash, and a link to it below the commit."""
    folder = cache / f"models--{REPOSITORY.replace('/', '--')}"
    snapshot = folder / "snapshots" / COMMIT
    for place in (folder / "blobs", folder / "refs", snapshot):
        place.mkdir(parents=True)
    (folder / "refs" / "main").write_text(COMMIT)
    (folder / "blobs" / digest).write_bytes(data)
    (snapshot / hub.FILE).symlink_to(folder / "blobs" / digest)
    return snapshot / hub.FILE


def test_a_file_in_the_cache_needs_no_network(cache: Path) -> None:
    path = put_in_cache(cache, WEIGHTS)
    file = hub.fetch(REPOSITORY, limit=10**6)
    assert file == HubFile(path, COMMIT)
    hub.check(file, SHA256)


def test_what_is_in_the_cache_is_known_without_asking(cache: Path) -> None:
    others = ["timm/test_resnet.other", "timm/test_vit.r160_in1k"]
    assert hub.cached([REPOSITORY, *others]) == frozenset()
    path = put_in_cache(cache, WEIGHTS)
    assert hub.cached([REPOSITORY, *others]) == {REPOSITORY}
    (path.parent / "config.json").touch()
    path.unlink()  # what is left of it is not its weights
    assert hub.cached([REPOSITORY, *others]) == frozenset()


def test_a_file_that_is_not_what_the_hub_announced_is_refused_with_what_to_delete(cache: Path) -> None:
    file = HubFile(put_in_cache(cache, WEIGHTS[:-1]), COMMIT)
    with pytest.raises(WeightsError, match=rf"is damaged: its SHA-256 is .*; delete \S+{SHA256} and run again"):
        hub.check(file, hashlib.sha256(file.path.read_bytes()).hexdigest())


def test_what_is_not_in_the_cache_is_downloaded_once(cache: Path, server: type[Answers]) -> None:
    file = hub.fetch(REPOSITORY, limit=10**6)
    assert file.path.read_bytes() == WEIGHTS
    assert file.commit == COMMIT
    asked = len(server.requests)
    assert hub.fetch(REPOSITORY, limit=10**6) == file
    assert len(server.requests) == asked
    hub.check(file, SHA256)


def test_a_repository_that_is_not_there_is_refused(server: type[Answers]) -> None:
    with pytest.raises(WeightsError, match=r"the hub does not give model\.safetensors of timm/none \(status 404"):
        hub.fetch("timm/none", limit=10**6)


def test_a_file_that_is_too_large_is_not_downloaded(server: type[Answers]) -> None:
    server.size = 10**7
    with pytest.raises(WeightsError, match="holds 10,000,000 bytes, more than this network can need"):
        hub.fetch(REPOSITORY, limit=10**6)
    assert [request.split()[0] for request in server.requests] == ["HEAD"]


def test_a_hub_that_fails_is_out_of_reach_at_once(server: type[Answers]) -> None:
    with pytest.raises(Offline, match="503"):
        hub.fetch("timm/broken", limit=10**6)
    assert len(server.requests) == 1


def test_a_closed_port_is_out_of_reach_at_once(reach: Callable[[str], None]) -> None:
    reach("http://127.0.0.1:9")
    start = time.monotonic()
    with pytest.raises(Offline, match="refused"):
        hub.fetch(REPOSITORY, limit=10**6)
    assert time.monotonic() - start < 5
    assert hub.hub_answers().startswith("no: ")


def test_a_request_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch, reach: Callable[[str], None]) -> None:
    reach("http://127.0.0.1:9")
    monkeypatch.setattr(hub, "SECONDS", -0.9)
    ended = threading.Event()
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", lambda *_, **__: ended.wait(30))
    with pytest.raises(Offline, match="no answer in 0 s"):
        hub.fetch(REPOSITORY, limit=10**6)
    ended.set()


def test_offline_by_choice_asks_nobody(server: type[Answers], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(Offline, match="HF_HUB_OFFLINE is set"):
        hub.fetch(REPOSITORY, limit=10**6)
    assert server.requests == []
    assert hub.hub_answers() == "no: HF_HUB_OFFLINE is set"


def test_a_cache_that_cannot_be_written_is_said(
    server: type[Answers], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "file" / "hub"))
    with pytest.raises(OutOfResources, match=r"\S+file\S* cannot be written: Not a directory"):
        hub.fetch(REPOSITORY, limit=10**6)


def test_the_doctor_hears_that_the_hub_answers(server: type[Answers], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_ASKED", REPOSITORY)
    assert hub.hub_answers() == "answers"
