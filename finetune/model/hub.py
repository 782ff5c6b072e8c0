"""Weights from the hub: the local cache, then a short question, then the download. It alone imports huggingface_hub.

Out of reach is known within five seconds, not after a minute of retries.
"""

import os
import re
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.errors import FinetuneError, Offline, OutOfResources, WeightsError, printable

FILE = "model.safetensors"
SECONDS = 3.0  # that the hub is given to answer
_ASKED = "timm/resnet18.a1_in1k"  # by the doctor


@dataclass(frozen=True)
class HubFile:
    """A weights file in the local cache, and the commit of the repository that it belongs to ("" if unknown)."""

    path: Path
    commit: str


def fetch(repository: str, *, limit: int) -> HubFile:
    """The file `model.safetensors` of a repository, from the local cache or else over the network into it.

    Raises Offline when the hub does not answer within a few seconds, WeightsError when it has no such file or one
    larger than `limit` bytes, OutOfResources when the cache cannot be written.
    """
    import huggingface_hub

    cached = huggingface_hub.try_to_load_from_cache(repository, FILE)
    if not isinstance(cached, str):
        _ask(repository, limit)
        cached = _guarded(lambda: huggingface_hub.hf_hub_download(repository, FILE, etag_timeout=SECONDS), repository)
    commit = Path(cached).parent.name
    return HubFile(Path(cached), commit if re.fullmatch("[0-9a-f]{40}", commit) else "")


def check(file: HubFile, sha256: str) -> None:
    """Raises WeightsError unless the bytes are those that the hub announced: it names large files by their SHA-256."""
    announced = file.path.resolve().name
    if re.fullmatch("[0-9a-f]{64}", announced) and announced != sha256:
        raise WeightsError(
            f"{printable(str(file.path))} is damaged: its SHA-256 is {sha256}, that of the hub's file {announced}; "
            f"delete {printable(str(file.path.resolve()))} and run again"
        )


def cached(repositories: Iterable[str]) -> frozenset[str]:
    """Those of the repositories whose weights `fetch` would find in the local cache. Nobody is asked."""
    import huggingface_hub
    from huggingface_hub import constants

    try:
        there = set(os.listdir(constants.HF_HUB_CACHE))
    except OSError:  # no cache, or one that cannot be read
        return frozenset()
    near = [one for one in repositories if f"models--{one.replace('/', '--')}" in there]
    return frozenset(one for one in near if isinstance(huggingface_hub.try_to_load_from_cache(one, FILE), str))


def hub_answers() -> str:
    """One line on whether the hub answers; takes at most four seconds and raises nothing."""
    try:
        _ask(_ASKED, limit=2**40)
    except FinetuneError as error:
        return f"no: {error}"
    return "answers"


def _ask(repository: str, limit: int) -> None:
    import huggingface_hub
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise Offline("HF_HUB_OFFLINE is set")
    url = huggingface_hub.hf_hub_url(repository, FILE)
    said = _guarded(
        lambda: huggingface_hub.get_hf_file_metadata(url, timeout=SECONDS, retry_on_errors=False),
        repository,
        seconds=SECONDS + 1,  # resolving a name knows no limit of its own
    )
    if said.size is not None and said.size > limit:
        raise WeightsError(f"{FILE} of {repository} holds {said.size:,} bytes, more than this network can need")


def _guarded(request: Callable[[], Any], repository: str, *, seconds: float | None = None) -> Any:
    """What `request` returns, or its failure as one of ours; runs in a thread, as a request may hang."""
    answers: list[Any] = []
    failures: list[Exception] = []

    def run() -> None:
        try:
            answers.append(request())
        except Exception as error:  # the thread boundary; the classes differ from version to version
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if answers:
        return answers[0]
    raise _failure(failures[0] if failures else TimeoutError(f"no answer in {seconds:.0f} s"), repository)


def _failure(error: Exception, repository: str) -> FinetuneError:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403, 404):
        return WeightsError(
            f"the hub does not give {FILE} of {repository} (status {status}: not there, or not for all)"
        )
    if isinstance(error, OSError) and error.filename is not None:
        return OutOfResources(f"{printable(str(error.filename))} cannot be written: {error.strerror}")
    return Offline(printable(str(error).partition("\n")[0] or type(error).__name__))
