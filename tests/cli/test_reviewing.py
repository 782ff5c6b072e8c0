"""`review` as a user meets it."""

import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from finetune import job
from tests.cli.conftest import Call
from tests.conftest import draw
from tests.review.toys import run_doubtful

pytest.importorskip("fastapi", reason="the extra `review` is not installed")
pytest.importorskip("uvicorn", reason="the extra `review` is not installed")
Write = Callable[..., Path]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FINETUNE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        return run_doubtful(tmp_path_factory.mktemp("doubtful"))


@contextmanager
def started(
    bundle: Path, folder: Path, *options: str, **environment: str
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command in a folder, and the address that it printed; killed if it does not end by itself."""
    process = subprocess.Popen(
        [sys.executable, "-m", "finetune", "review", str(bundle), *options],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        assert said == "to look at: 2 suspected labels, 2 groups of copies, 1 outlier\n", process.communicate()
        address = process.stdout.readline().strip()
        assert process.stdout.readline() == "open this address; Ctrl-C ends the review\n"
        yield process, address
    finally:
        process.kill()
        process.communicate()


def post(address: str, path: str, body: str) -> int:
    split = urlsplit(address)
    connection = http.client.HTTPConnection(split.netloc, timeout=20)
    connection.request("POST", f"{split.path}{path}", body, {"content-type": "application/json"})
    status = connection.getresponse().status
    connection.close()
    return status


LEAVE_OUT = '{"choices": [{"image": 0, "action": "exclude"}]}'


def test_ctrl_c_ends_a_review_with_what_was_decided(bundle: Path, tmp_path: Path) -> None:
    browser = tmp_path / "browser"
    browser.write_text('#!/bin/sh\necho "$1" > opened\n')
    browser.chmod(0o755)
    with started(bundle, tmp_path, BROWSER=str(browser)) as (process, address):
        assert post(address, "item/0/decide", LEAVE_OUT) == 200
        begun = time.monotonic()
        while not (tmp_path / "opened").exists() or not (tmp_path / "opened").read_text():
            assert time.monotonic() - begun < 20
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert process.returncode == 130
        assert out == (
            "\n1 correction in corrections.csv: 0 relabelled, 1 left out\n"
            "to apply them, write in the recipe, whose paths start from its own folder: corrections: corrections.csv\n"
        )
        assert err.splitlines()[-1] == "finetune: error[stopped]: stopped by SIGINT"
        assert (tmp_path / "corrections.csv").read_text() == "path,action,label\nblue/was red.png,exclude,\n"
        assert (tmp_path / "opened").read_text().strip() == address


def test_the_page_ends_a_review_well(bundle: Path, tmp_path: Path) -> None:
    browser = tmp_path / "browser"
    browser.write_text("#!/bin/sh\ntouch opened\n")
    browser.chmod(0o755)
    with started(bundle, tmp_path, "--no-browser", "--output", "c.csv", BROWSER=str(browser)) as (process, address):
        assert post(address, "end", "{}") == 200
        out, err = process.communicate(timeout=30)
        assert (process.returncode, err) == (0, "")
        assert out.endswith("\nnothing was corrected\n")
        assert not (tmp_path / "c.csv").exists()
        assert not (tmp_path / "opened").exists()


def test_nothing_to_review_is_said(call: Call, tmp_path: Path, write_recipe: Write) -> None:
    for number in range(12):
        draw(tmp_path / "photos" / "ab"[number % 2] / f"{number}.png", hue=(220, 60, 40), seed=number)
    bundle = job.run(write_recipe(tmp_path / "photos", schedule="head"), output=tmp_path / "run").folder
    code, out, err = call("review", bundle)
    assert (code, out) == (0, "nothing to review: no suspected label, no copies, no outliers\n")
    assert "the bundle holds no out-of-fold answers" in err


def test_a_file_among_the_images_is_refused(call: Call, bundle: Path) -> None:
    code, out, err = call("review", bundle, "--output", bundle.parent / "photos" / "c.csv")
    assert (code, out) == (2, "")
    assert "would lie among the images" in err


def test_images_that_are_gone_are_told(call: Call, photos: Path, tmp_path: Path, write_recipe: Write) -> None:
    bundle = job.run(write_recipe(photos, schedule="probe"), output=tmp_path / "run").folder
    (photos / "red" / "000.png").unlink()
    code, _, err = call("review", bundle)
    assert code == 3
    assert "1 of 24 images" in err
    assert "red/000.png: not there" in err


def test_without_the_extra_it_is_said_at_once(call: Call, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fastapi", None)
    code, _, err = call("review", bundle)
    assert code == 2
    assert "a review needs fastapi and uvicorn: pip install 'finetune-vision[review]'" in err
