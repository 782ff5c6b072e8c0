"""A run killed from outside, again and again, and resumed each time, equals the run that was left alone: bit for bit.

One process loads the package once and forks a child for every attempt; the parent kills the child with SIGKILL, at
random moments or while it stands in the middle of writing a checkpoint.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import draw_classes
from tests.laws import assert_same

ROOT = Path(__file__).parents[1]

DRIVER = '''
import json, os, random, select, shutil, signal, sys, time
from pathlib import Path
import accelerate, albumentations, timm  # else every child loads them, and most are killed while they do
from finetune import job

recipe, uncut, killed = map(Path, sys.argv[1:4])
inside, elsewhere = int(sys.argv[4]), int(sys.argv[5])
draw = random.Random(0)
log = []

def attempt(output, pause_at):
    """Forks a child that runs or resumes; it reports each checkpoint operation, and waits for ever at the one asked
    for.
    """
    reads, writes = os.pipe()
    child = os.fork()
    if child:
        os.close(writes)
        return child, reads
    count = 0
    def reporting(function):
        def call(*arguments, **named):
            nonlocal count
            count += 1
            os.write(writes, b"x" if count == pause_at else b".")
            if count == pause_at:
                signal.pause()
            return function(*arguments, **named)
        return call
    real = os.fsync
    def fsync(descriptor):
        where = os.readlink(f"/proc/self/fd/{descriptor}")
        return reporting(real)(descriptor) if "checkpoints" in where else real(descriptor)
    os.fsync = fsync
    said = output / "bundle.json"
    if said.exists() and '"decided"' in said.read_text():
        job.resume(output)
    else:  # killed before it had begun, or for the first time
        shutil.rmtree(output, ignore_errors=True)
        job.run(recipe, output=output)
    os.write(writes, b"!")
    os._exit(0)

def heard(reads, enough, seconds):
    """What the child reports until that is `enough`, the time is over, or nobody is left to report."""
    seen, end = b"", time.monotonic() + seconds
    while not enough(seen) and select.select([reads], [], [], max(0, end - time.monotonic()))[0]:
        byte = os.read(reads, 1)
        if not byte:
            break
        seen += byte
    return seen

def whole(output):
    child, reads = attempt(output, 0)
    assert b"!" in heard(reads, lambda seen: b"!" in seen, 120)
    os.waitpid(child, 0)

whole(uncut)
for number in range(inside + elsewhere):
    within, moment = number < inside, draw.randint(1, 12)
    child, reads = attempt(killed, moment if within else 0)
    if not within and number % 4 == 3:  # soon, whatever it does by then
        seen = heard(reads, lambda seen: len(seen) >= 12, draw.uniform(0.05, 1))
    else:
        seen = heard(reads, lambda seen: len(seen) >= moment, 120)
    if not within:
        time.sleep(draw.uniform(0, 0.03))
    assert b"!" not in seen, "it came to its end before the moment to kill it"
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, status
    os.close(reads)
    log.append("inside" if b"x" in seen else "while learning" if seen else "before")
whole(killed)
print(json.dumps(log))
'''


@pytest.mark.skipif(sys.platform != "linux", reason="kills by fork and /proc")
def test_twenty_kills_five_of_them_inside_a_checkpoint_write(tmp_path: Path, write_recipe: Callable[..., Path]) -> None:
    photos = draw_classes(tmp_path / "photos", {"blue": 8, "green": 8, "red": 8})
    head, top = "{train: [head], epochs: 10, lr: 1.0e-2}", "{train: [stage4, head], epochs: 40, lr: 1.0e-3}"
    schedule = f"{{kind: phases, phases: [{head}, {top}]}}"
    recipe = write_recipe(photos, schedule=schedule)
    log = assert_kills_leave_no_trace(recipe, inside=5, elsewhere=15)
    assert log.count("inside") == 5
    assert log.count("while learning") >= 10


@pytest.mark.skipif(sys.platform != "linux", reason="kills by fork and /proc")
def test_six_kills_while_folds_are_held_out_some_of_them_inside_a_write(
    tmp_path: Path, write_recipe: Callable[..., Path]
) -> None:
    photos = draw_classes(tmp_path / "photos", {"blue": 8, "green": 8, "red": 8})
    recipe = write_recipe(photos, schedule="{kind: stages, train: [stage4, head], epochs: 6, lr: 1.0e-3}")
    text = recipe.read_text()
    recipe.write_text(text.replace("{kind: stratified, validation: 0.25, test: 0.25}", "{kind: folds, folds: 3}"))
    assert assert_kills_leave_no_trace(recipe, inside=4, elsewhere=2).count("inside") == 4


def assert_kills_leave_no_trace(recipe: Path, *, inside: int, elsewhere: int) -> list[str]:
    """Where the run was each time that it was killed."""
    uncut, killed = recipe.parent / "runs" / "uncut", recipe.parent / "runs" / "killed"
    uncut.parent.mkdir()
    arguments = [sys.executable, "-c", DRIVER, str(recipe), str(uncut), str(killed), str(inside), str(elsewhere)]
    done = subprocess.run(arguments, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert_same(uncut, killed)
    log: list[str] = json.loads(done.stdout)
    return log
