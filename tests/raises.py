"""Which lines that raise no test reaches: `make coverage`, or python tests/raises.py after a run with coverage.

Reads coverage.json. A `raise` that only passes on what was caught, or that an assertion of our own would be, counts as
any other.
"""

import ast
import json
import sys
from pathlib import Path


def main(report: Path) -> int:
    files = json.loads(report.read_text())["files"]
    missed, total = [], 0
    for name, found in sorted(files.items()):
        executed = set(found["executed_lines"])
        excluded = set(found["excluded_lines"])
        for node in ast.walk(ast.parse(Path(name).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Raise) and node.lineno not in excluded:
                total += 1
                if node.lineno not in executed:
                    missed.append(f"{name}:{node.lineno}: {ast.unparse(node)[:90]}")
    print("\n".join([*missed, f"{total - len(missed)} of {total} lines that raise are reached"]))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(Path("coverage.json")))
