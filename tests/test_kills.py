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
import json, os, random, select, shutil, signal, sys
from pathlib import Path
from finetune import job
from finetune.train import checkpoint

recipe, output, kills, inside = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
draw = random.Random(0)
log = []

def attempt(pause_at):
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

def wait_for(reads, wanted, seconds):
    """Reads what the child reports until it is `wanted` or the time is over; says what came."""
    seen = b""
    while not (set(seen) & set(wanted)) and select.select([reads], [], [], seconds)[0]:
        byte = os.read(reads, 1)
        if not byte:
            break
        seen += byte
    return seen

done = 0
while done < kills:
    within = done < inside
    child, reads = attempt(draw.randint(1, 12) if within else 0)
    seen = wait_for(reads, b"x!", 60 if within else draw.uniform(0.05, 1.2))
    if b"!" in seen:  # it came to its end before the moment to kill it
        os.waitpid(child, 0)
        log.append("finished")
        break
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, status
    os.close(reads)
    log.append("inside" if within and b"x" in seen else "at random")
    done += 1
child, reads = attempt(0)
assert b"!" in wait_for(reads, b"!", 120)
os.waitpid(child, 0)
print(json.dumps(log))
'''


@pytest.mark.skipif(sys.platform != "linux", reason="kills by fork and /proc")
def test_twenty_kills_five_of_them_inside_a_checkpoint_write(tmp_path: Path, write_recipe: Callable[..., Path]) -> None:
    photos = draw_classes(tmp_path / "photos", {"blue": 8, "green": 8, "red": 8})
    head, top = "{train: [head], epochs: 10, lr: 1.0e-2}", "{train: [stage4, head], epochs: 40, lr: 1.0e-3}"
    schedule = f"{{kind: phases, phases: [{head}, {top}]}}"
    recipe = write_recipe(photos, schedule=schedule)
    uncut, killed = tmp_path / "a" / "uncut", tmp_path / "a" / "killed"
    (tmp_path / "a").mkdir()
    assert drive(recipe, uncut, kills=0, inside=0) == []
    log = drive(recipe, killed, kills=20, inside=5)
    assert log.count("inside") == 5
    assert len([kill for kill in log if kill != "finished"]) == 20
    assert_same(uncut, killed)


@pytest.mark.skipif(sys.platform != "linux", reason="kills by fork and /proc")
def test_six_kills_while_folds_are_held_out_some_of_them_inside_a_write(
    tmp_path: Path, write_recipe: Callable[..., Path]
) -> None:
    photos = draw_classes(tmp_path / "photos", {"blue": 8, "green": 8, "red": 8})
    recipe = write_recipe(photos, schedule="{kind: stages, train: [stage4, head], epochs: 6, lr: 1.0e-3}")
    text = recipe.read_text()
    recipe.write_text(text.replace("{kind: stratified, validation: 0.25, test: 0.25}", "{kind: folds, folds: 3}"))
    uncut, killed = tmp_path / "a" / "uncut", tmp_path / "a" / "killed"
    (tmp_path / "a").mkdir()
    drive(recipe, uncut, kills=0, inside=0)
    assert drive(recipe, killed, kills=6, inside=4).count("inside") == 4
    assert_same(uncut, killed)


def drive(recipe: Path, output: Path, *, kills: int, inside: int) -> list[str]:
    arguments = [sys.executable, "-c", DRIVER, str(recipe), str(output), str(kills), str(inside)]
    done = subprocess.run(arguments, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    log: list[str] = json.loads(done.stdout)
    return log
