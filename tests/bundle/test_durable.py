import errno
import os
import random
import resource
import signal
import stat
import subprocess
import sys

import pytest

from finetune.bundle import sync_folder, write_atomically
from finetune.bundle.durable import refusal
from finetune.errors import OutOfResources


def test_a_file_is_written_and_replaced_and_nothing_else_is_left(tmp_path):
    write_atomically(tmp_path / "a", b"one")
    write_atomically(tmp_path / "a", b"two")
    assert (tmp_path / "a").read_bytes() == b"two"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_the_umask_is_respected(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        write_atomically(tmp_path / "a", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == mode


def test_data_reach_the_disk_before_the_name_and_the_name_before_the_return(tmp_path, monkeypatch):
    calls = []
    real_fsync, real_replace = os.fsync, os.replace

    def fsync(descriptor):
        calls.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else os.fstat(descriptor).st_size)
        real_fsync(descriptor)

    def replace(source, target):
        calls.append("rename")
        real_replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    write_atomically(tmp_path / "a", b"12345")
    assert calls == [5, "rename", "folder"]


def test_a_full_disk_keeps_the_old_file_and_says_how_much_is_needed(tmp_path):
    write_atomically(tmp_path / "a", b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OutOfResources, match=r"no room for '.*a': 5\.0 kB to write, .* free on the device of '/"):
            write_atomically(tmp_path / "a", b"x" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / "a").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_an_fsync_that_fails_is_not_a_success(tmp_path, monkeypatch):
    calls = []

    def fsync(descriptor):
        calls.append(descriptor)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OutOfResources, match=r"cannot write .* \(Input/output error\); check the path and the disk"):
        write_atomically(tmp_path / "a", b"new")
    assert len(calls) == 1
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(OutOfResources, match=r"cannot write '.*none/a', on the device of '/.*No such file"):
        write_atomically(tmp_path / "none" / "a", b"")
    with pytest.raises(FileNotFoundError):
        sync_folder(tmp_path / "none")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_a_missing_permission_says_what_to_get(tmp_path, number):
    text = refusal(OSError(number, os.strerror(number)), tmp_path / "a")
    assert text.startswith(f"not allowed to write '{tmp_path / 'a'}', on the device of '")
    assert text.endswith("; get permission to write there or choose another output folder")


def test_a_kill_at_any_moment_leaves_a_whole_file(tmp_path):
    code = (
        "import itertools, pathlib, sys\n"
        "from finetune.bundle.durable import write_atomically\n"
        "for i in itertools.count():\n"
        "    write_atomically(pathlib.Path(sys.argv[1]), bytes([i % 256]) * 3_000_000)\n"
        "    print(i, flush=True)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    choose = random.Random(0)
    for _ in range(4):
        command = [sys.executable, "-c", code, tmp_path / "a"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as writer:
            for _ in range(choose.randrange(1, 12)):
                writer.stdout.readline()
            writer.send_signal(signal.SIGKILL)
        data = (tmp_path / "a").read_bytes()
        assert data == data[:1] * 3_000_000
