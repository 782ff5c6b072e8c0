"""Processes that write to one store are killed from outside, again and again; what is there afterwards is right.

One process loads the store, without torch, and forks three writers at a time. They write the same entries in another
order each, in a small and in a large collection and as pictures of several sizes, and check what they read. The parent
kills all three with SIGKILL at random moments, and every third round while one of them stands between the bytes of a
record and its row in the index.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

DRIVER = '''
import sys
for name in ("torch", "timm", "albumentations", "accelerate"):
    sys.modules[name] = None
import json, os, random, select, shutil, signal, sqlite3, time
from pathlib import Path
import numpy as np
from finetune.data.index import Index
from finetune.data.store import Store

folder, kills = Path(sys.argv[1]), int(sys.argv[2])
IMAGES, SHAPES = 400, {False: (1280,), True: (16, 28, 28)}
draw = random.Random(0)

def value(number, large):
    """Tells of which image it is in every byte."""
    drawn = np.random.default_rng([number, large]).integers(0, 2**32, SHAPES[large], dtype=np.uint32)
    return drawn

def entry(number):
    return (f"{number:064x}", "plain")

def collections(store):
    return {
        large: store.collection({"large": large}, dtype=np.dtype(np.uint32), shape=shape, large=large)
        for large, shape in SHAPES.items()
    }

def wrong(collection, numbers):
    """How many of the records are not what they should be."""
    got = collection.get([entry(number) for number in numbers])
    return sum(not np.array_equal(row, value(number, collection.large)) for row, number in zip(got, numbers))

def picture(number):
    """Of another size for each image."""
    shape = (8 + number % 50, 40 + number % 7, 3)
    return np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)

def wrong_pictures(pictures, numbers):
    got = {number: pictures.get(entry(number)[0]) for number in numbers}
    return sum(one is not None and not np.array_equal(one, picture(number)) for number, one in got.items())

def write(seed, pause, said):
    """Writes until it is killed; at the `pause`-th file it stops for ever, with the bytes written and no row."""
    count = 0
    if pause:
        place = Index.place
        def stop(self, *arguments, **named):
            nonlocal count
            count += 1
            places = place(self, *arguments, **named)
            if count == pause:
                os.write(said, b"x")
                signal.pause()
            return places
        Index.place = stop
    order = random.Random(seed)
    with Store.open(folder) as store:
        while True:
            for large, collection in collections(store).items():
                numbers = order.sample(range(IMAGES), 8)
                lacking = {each for each in collection.missing([entry(number) for number in numbers])}
                some = [number for number in numbers if entry(number) in lacking or order.random() < 0.2]
                if some:
                    collection.put([entry(number) for number in some], np.stack([value(n, large) for n in some]))
                if wrong(collection, numbers) or store.notes:
                    os._exit(3)
            pictures, numbers = store.pictures({}), order.sample(range(IMAGES), 8)
            for number in numbers:
                if pictures.get(entry(number)[0]) is None or order.random() < 0.2:
                    pictures.put(entry(number)[0], picture(number))
            pictures.write()
            if wrong_pictures(pictures, numbers) or store.notes:
                os._exit(3)

def fork(seed, pause, said):
    child = os.fork()
    if child == 0:
        try:
            write(seed, pause, said)
        except BaseException:
            import traceback
            traceback.print_exc()
        os._exit(4)
    return child

log = {"killed": 0, "within": 0, "wrong": 0, "kept": [], "pictures": [], "notes": []}
while log["killed"] < kills:
    within = log["killed"] % 9 == 0
    if draw.random() < 0.15:
        shutil.rmtree(folder, ignore_errors=True)  # some are killed while they make the files
    reads, writes = os.pipe()
    children = [fork(draw.random(), draw.randint(1, 3) if within and number == 0 else 0, writes) for number in range(3)]
    if within:
        log["within"] += bool(select.select([reads], [], [], 20)[0])
    time.sleep(draw.uniform(0.0, 0.25))
    for child in draw.sample(children, 3):
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, status
        log["killed"] += 1
    os.close(reads)
    os.close(writes)
    with Store.open(folder) as store:
        kept = 0
        for large, collection in collections(store).items():
            missing = set(collection.missing([entry(number) for number in range(IMAGES)]))
            there = [number for number in range(IMAGES) if entry(number) not in missing]
            log["wrong"] += wrong(collection, there)
            kept += len(there)
        log["kept"].append(kept)
        pictures = store.pictures({})
        log["wrong"] += wrong_pictures(pictures, range(IMAGES))
        log["pictures"].append(sum(pictures.get(entry(number)[0]) is not None for number in range(IMAGES)))
        log["notes"] += store.notes
if (folder / "frozen" / "index.sqlite").exists():
    connection = sqlite3.connect(folder / "frozen" / "index.sqlite")
    log["integrity"] = connection.execute("PRAGMA integrity_check").fetchone()[0]
    connection.close()
print(json.dumps(log))
'''


@pytest.mark.skipif(sys.platform != "linux", reason="kills by fork")
def test_fifty_kills_while_three_processes_write_never_make_a_wrong_value(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, str(tmp_path / "cache"), "51"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    log = json.loads(done.stdout)
    assert log["killed"] == 51
    assert log["within"] >= 5
    assert log["wrong"] == 0
    assert log["notes"] == []
    assert log["integrity"] == "ok"
    assert max(log["kept"]) > 100
    assert max(log["pictures"]) > 50
