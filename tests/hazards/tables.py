"""Tables of images that have something wrong or odd in them, made here, and what `check` says of each."""

from dataclasses import dataclass
from pathlib import Path

from tests.conftest import draw_classes
from tests.hazards.images import PNG

HEAD = "path,label\n"
ROWS = "".join(f"{name}/{number:03d}.png,{name}\n" for name in ("cat", "dog") for number in range(4))
PLAIN = HEAD + ROWS
MARKUP = "</script><script>alert(1)</script>"


@dataclass(frozen=True)
class Table:
    """A table file beside images of cats and dogs: what is said of it, at which lines, or nothing and its classes."""

    content: bytes
    said: tuple[str, ...] = ()
    classes: tuple[str, ...] = ("cat", "dog")
    suffix: str = ".csv"


def _with(*lines: str) -> bytes:
    return (PLAIN + "".join(f"{line}\n" for line in lines)).encode()


def _labelled(*names: str) -> bytes:
    rows = (f'{"cat" if number % 2 else "dog"}/{number // 2:03d}.png,"{name}"' for number, name in enumerate(names * 3))
    return (HEAD + "\n".join(rows)).encode()


TABLES: dict[str, Table] = {
    "a byte order mark": Table(PLAIN.encode("utf-8-sig")),
    "line ends of Windows": Table(PLAIN.replace("\n", "\r\n").encode()),
    "UTF-16": Table(PLAIN.encode("utf-16"), ("t.csv:1: the text is UTF-16; save it as UTF-8",)),
    "Latin-1": Table(
        _with("cat/5.png,K\u00e4fer").decode().encode("latin-1"), ("t.csv:10: the text is not UTF-8 (byte 0xe4)",)
    ),
    "nothing": Table(b"", ("t.csv:1: no first line with the names of columns",)),
    "a first line only": Table(HEAD.encode(), ("t.csv: no rows",)),
    "no first line": Table(ROWS.encode(), ("t.csv: no column 'path'",)),
    "another column": Table(PLAIN.replace("\n", ",x\n").encode()),
    "a row with a cell too many": Table(_with("cat/004.png,cat,x"), ("t.csv:10: 3 cells where the first line has 2",)),
    "a line end in a label": Table(
        _with('cat/004.png,"c\nat"'), (r"t.csv:10: label 'c\\x0aat' has line breaks or control characters in it",)
    ),
    "a line end in another column": Table((HEAD.replace("\n", ",note\n") + ROWS.replace("\n", ',"a\nb"\n')).encode()),
    "a cell of 10 MB": Table(_with("cat/004.png," + "x" * 10**7), ("t.csv:10: a cell of more than 131072 characters",)),
    "a quote that does not close": Table(_with('cat/004.png,"cat'), ("t.csv:10: a quote that begins here or below",)),
    "a NUL": Table(_with("cat/0\x0004.png,cat"), (r"t.csv:10: path 'cat/0\\x0004.png' has control characters in it",)),
    "a path that leads nowhere above": Table(
        _with("../../none.png,cat"), ("1 of 9 rows lead out of", "t.csv:10: '../../none.png'")
    ),
    "a path that leads above": Table(
        _with("../above.png,cat"), ("1 of 9 rows lead out of", "t.csv:10: '../above.png'")
    ),
    "an absolute path elsewhere": Table(
        _with("/proc/version,cat"), ("1 of 9 rows lead out of", "t.csv:10: '/proc/version'")
    ),
    "an address": Table(
        _with("https://example.org/1.png,cat"), ("t.csv:10: 'https://example.org/1.png' is an address",)
    ),
    "a path twice": Table(_with("cat/000.png,cat"), ("t.csv:10: 'cat/000.png' is the file of t.csv:2 too",)),
    "a path twice with two labels": Table(
        _with("cat/../cat/000.png,dog"), ("t.csv:10: 'cat/../cat/000.png' is the file of t.csv:2 too, with another",)
    ),
    "no label": Table(_with("cat/004.png,"), ("t.csv:10: no label",)),
    "a label with control characters": Table(
        _with("cat/004.png,c\x1bat"), (r"t.csv:10: label 'c\\x1bat' has line breaks or control characters in it",)
    ),
    "labels that differ in capitals": Table(
        _with("cat/004.png,Cat"), ("labels that differ only in capitals", "'Cat' (t.csv:10)")
    ),
    "one label": Table((HEAD + "cat/000.png,cat\ncat/001.png,cat\n").encode(), ("t.csv: only one class, 'cat'",)),
    "labels that are no names of folders": Table(_labelled("..", "a/b"), classes=("..", "a/b")),
    "labels that look like other things": Table(_labelled("1e3", "null", "no"), classes=("1e3", "no", "null")),
    "labels of markup": Table(_labelled(MARKUP, "{{7*7}}"), classes=(MARKUP, "{{7*7}}")),
    "a line that is not JSON": Table(
        b'{"path": "cat/000.png", "label": "cat"}\n{\n{"path": "dog/000.png", "label": "dog"}\n',
        ("t.jsonl:2: not JSON",),
        suffix=".jsonl",
    ),
    "everything at once": Table(
        _with("cat/004.png", "cat/005.png,", "none.png,cat", "cat/000.png,cat", "cat/006.png,Dog"),
        (
            "t.csv:10: 1 cell where the first line has 2",
            "t.csv:11: no label",
            "t.csv:12: 'none.png'",
            "t.csv:13: 'cat/000.png' is the file of t.csv:2 too; remove one of them",
            "'Dog' (t.csv:14) and 'dog' (t.csv:6)",
        ),
    ),
}


def build(root: Path, name: str) -> Path:
    """The table among its images; returns its file."""
    draw_classes(root / "set", {"cat": 8, "dog": 8})
    (root / "above.png").write_bytes(PNG)
    file = root / "set" / f"t{TABLES[name].suffix}"
    file.write_bytes(TABLES[name].content)
    return file
