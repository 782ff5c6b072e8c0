import os
import signal
import subprocess
import sys
import threading

import pytest

from finetune.bundle import Bundle
from finetune.bundle import lock as module
from finetune.bundle.lock import LOCK, claim, locked
from finetune.errors import OutOfResources, OutputTaken

ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
HOLD = """
import pathlib, sys
from finetune.bundle.lock import locked
with locked(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(folder):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=ENVIRONMENT
    )
    assert process.stdout.readline() == b"held\n"
    return process


def test_another_process_is_kept_out_and_told_who_is_in(tmp_path):
    with holder(tmp_path) as process:
        with (
            pytest.raises(OutputTaken, match=rf"in use by process {process.pid}: wait for it, or stop it"),
            locked(tmp_path),
        ):
            pass
        process.communicate()
    with locked(tmp_path):
        assert (tmp_path / LOCK).read_text() == f"{os.getpid()}\n"


def test_a_killed_process_lets_go(tmp_path):
    with holder(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
    with locked(tmp_path):
        pass
    assert (tmp_path / LOCK).read_text() == ""


def test_a_forked_child_does_not_keep_the_lock(tmp_path):
    code = (
        "import os, pathlib, signal, sys, time\n"
        "from finetune.bundle.lock import locked\n"
        "with locked(pathlib.Path(sys.argv[1])):\n"
        "    if os.fork() == 0:\n"
        "        sys.stdin.read()\n"
        "        os._exit(0)\n"
        "    print('held', flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    command = [sys.executable, "-c", code, tmp_path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=ENVIRONMENT) as process:
        process.wait()
        with locked(tmp_path):  # the child still lives
            pass
        process.stdin.close()


def test_a_second_thread_of_this_process_is_kept_out(tmp_path):
    refused = []

    def try_it():
        try:
            with locked(tmp_path):
                pass
        except OutputTaken as error:
            refused.append(str(error))

    with locked(tmp_path):
        thread = threading.Thread(target=try_it)
        thread.start()
        thread.join()
        # and did not let go of ours by closing the file
        with subprocess.Popen(
            [sys.executable, "-c", HOLD, tmp_path], stderr=subprocess.PIPE, env=ENVIRONMENT
        ) as process:
            assert b"OutputTaken" in process.stderr.read()
    assert len(refused) == 1
    assert f"in use by this process ({os.getpid()}) already" in refused[0]
    with locked(tmp_path):
        pass


def test_a_file_system_without_locks_does_not_stop_a_run(tmp_path, monkeypatch):
    def lockf(descriptor, how):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(module.fcntl, "lockf", lockf)
    with locked(tmp_path):
        pass


def test_a_folder_that_is_gone_cannot_be_locked(tmp_path):
    with pytest.raises(OutOfResources, match=r"cannot write .*none"), locked(tmp_path / "none"):
        pass


def test_what_is_there_is_never_claimed(tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("file", "full", "dangling"):
        with pytest.raises(OutputTaken, match="is taken: the output must be a new or an empty folder"):
            claim(tmp_path / name)
    assert (tmp_path / "full" / "thesis.txt").read_text() == "mine"


def test_a_folder_with_a_run_says_how_to_go_on(tmp_path):
    Bundle.create(tmp_path / "run")
    with pytest.raises(OutputTaken, match=r"holds a run already: finish it with `finetune resume .*run`"):
        claim(tmp_path / "run")


def test_an_empty_folder_is_claimed_once(tmp_path, monkeypatch):
    claim(tmp_path)
    with pytest.raises(OutputTaken):
        claim(tmp_path)
    # two callers that both saw it empty
    (tmp_path / "late").mkdir()
    (tmp_path / "late" / LOCK).touch()
    monkeypatch.setattr(type(tmp_path), "iterdir", lambda self: iter(()))
    with pytest.raises(OutputTaken, match="is taken"):
        claim(tmp_path / "late")


RACE = """
import os, pathlib, sys
from finetune.bundle import Bundle
from finetune.errors import OutputTaken

wins = []
for turn in range(50):
    folder = pathlib.Path(sys.argv[1], str(turn))
    if turn % 2:
        folder.mkdir()
    gate, results = os.pipe(), os.pipe()
    children = []
    for _ in range(4):
        if (child := os.fork()) == 0:
            os.close(gate[1])
            os.read(gate[0], 1)  # all wait for the parent to close its end
            try:
                with Bundle.create(folder).locked():
                    os.write(results[1], b"w")
            except OutputTaken as error:
                os.write(results[1], b"l" if error.exit_code == 7 else b"?")
            os._exit(0)
        children.append(child)
    os.close(gate[0])
    os.close(gate[1])
    os.close(results[1])
    for child in children:
        os.waitpid(child, 0)
    wins.append(os.read(results[0], 99))
    os.close(results[0])
print(sum(sorted(outcome) == sorted(b"wlll") for outcome in wins))
"""


def test_of_four_runs_that_start_at_once_exactly_one_gets_the_folder(tmp_path):
    done = subprocess.run([sys.executable, "-c", RACE, tmp_path], capture_output=True, env=ENVIRONMENT, text=True)
    assert done.stderr == ""
    assert done.stdout == "50\n"


def test_numbers_given_out_at_once_are_all_different(tmp_path):
    numbers = []
    threads = [threading.Thread(target=lambda: numbers.append(Bundle.next_number(tmp_path).name)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(int, numbers)) == list(range(1, 21))
