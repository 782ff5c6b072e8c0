"""`cache info` and `cache clear`: what is kept to be computed only once, and making room."""

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from finetune.data.store import Holding

_WIDTH = 80
_FIRST = ("backbone", "tap", "pool")
_LONGEST_WORD = 40
_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")


@click.group(invoke_without_command=True)
@click.pass_context
def cache(context: click.Context) -> None:
    """Say what the cache holds, or empty it.

    It keeps features and activations of frozen networks, decoded images, fingerprints of image files and looks at them,
    and published data sets. All of it can be made, or downloaded, again.
    $FINETUNE_CACHE says where it is, $FINETUNE_CACHE_LIMIT how large it may grow (such as 20G; 10 GB by default).
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@cache.command()
@_JSON
def info(as_json: bool) -> None:
    """Say what is there, how large it is, and when it was last used."""
    from finetune.audit import look
    from finetune.data import fingerprints, unpacked
    from finetune.data.store import Store
    from finetune.errors import printable, size
    from finetune.recipe.machine import cache_folder

    folder = cache_folder()
    seen, hashed = fingerprints.usage(), fingerprints.usage(name=fingerprints.HASHES)
    kept = {"fingerprints": (seen[0] + hashed[0], seen[1] + hashed[1]), "looks": fingerprints.usage(name=look.NAME)}
    remembered = sum(held for _, held in kept.values())
    sets, fetched = unpacked.usage()
    with Store.open() as store:
        found = store.info()
    kinds = {
        "features": [holding for holding in found.holdings if not holding.large],
        "activations": [holding for holding in found.holdings if holding.large and not _is_pixels(holding)],
        "pixels": [holding for holding in found.holdings if _is_pixels(holding)],
    }
    if as_json:
        facts: dict[str, Any] = {"folder": str(folder), "limit": found.limit, "bytes": found.bytes + remembered}
        facts |= {kind: [_object(holding) for holding in holdings] for kind, holdings in kinds.items()}
        facts |= {what: {"files": files, "bytes": held} for what, (files, held) in kept.items()}
        facts |= {"sets": {"sets": sets, "bytes": fetched}}
        click.echo(json.dumps(facts, indent=1))
        return
    click.echo(f"{printable(str(folder))}: {size(found.bytes + remembered)} of {size(found.limit)}")
    for kind, holdings in kinds.items():
        total = size(sum(holding.bytes for holding in holdings))
        click.echo(_row(kind, sum(holding.records for holding in holdings), "records", total))
        click.echo("".join(f"{line}\n" for line in _lines(holdings)), nl=False)
    for what, (files, held) in kept.items():
        click.echo(_row(what, files, "files", size(held)))
    click.echo(_row("data sets", sets, "sets", size(fetched)))


@cache.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
def clear(yes: bool) -> None:
    """Remove everything that is kept. Nothing is lost but the time to make it again."""
    from finetune.audit import look
    from finetune.data import fingerprints, unpacked
    from finetune.data.store import Store
    from finetune.errors import UsageError, printable, size
    from finetune.recipe.machine import cache_folder

    folder = printable(str(cache_folder()))
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError(f"nobody can be asked here whether to remove what is in {folder}; say --yes")
        if not click.confirm(f"remove what is kept in {folder}?"):
            click.echo("nothing was removed")
            return
    with Store.open() as store:
        freed = store.clear()
    freed += sum(fingerprints.clear(name=name) for name in (fingerprints.NAME, fingerprints.HASHES, look.NAME))
    freed += unpacked.clear()
    click.echo(f"{size(freed)} removed from {folder}")


def _is_pixels(holding: "Holding") -> bool:
    return "pixels" in holding.facts


def _row(kind: str, count: int, what: str, total: str) -> str:
    return f"{kind:<12}  {count:>9,} {what:<7}  {total:>10}"


def _lines(holdings: "Sequence[Holding]") -> list[str]:
    """A line for each collection, the last used first: how much, when, and what decided it."""
    from finetune.errors import size

    lines = []
    for holding in sorted(holdings, key=lambda holding: -holding.used):
        day = datetime.fromtimestamp(holding.used).strftime("%Y-%m-%d %H:%M")
        line = f"    {holding.records:>9,}  {size(holding.bytes):>10}  {day}  {_words(holding.facts)}"
        lines.append(line if len(line) <= _WIDTH else line[: _WIDTH - 1] + "…")
    return lines


def _words(facts: dict[str, Any]) -> str:
    """The facts that are words, what they are of first; hashes, numbers and what is nested stay with --json."""
    from finetune.errors import printable

    names = [*(name for name in _FIRST if name in facts), *(name for name in facts if name not in _FIRST)]
    words = [str(facts[name]) for name in names if isinstance(facts[name], str)]
    return printable(", ".join(word for word in words if len(word) <= _LONGEST_WORD))


def _object(holding: "Holding") -> dict[str, Any]:
    return {
        "facts": holding.facts,
        "records": holding.records,
        "bytes": holding.bytes,
        "last_used": datetime.fromtimestamp(holding.used, tz=UTC).isoformat(timespec="seconds"),
    }
