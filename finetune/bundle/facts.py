"""bundle.json and the other JSON of a bundle, read as something that a stranger may have written."""

import json
import math
from pathlib import Path
from typing import Any

from finetune.errors import BundleError, listing, printable

FACTS = "bundle.json"
SCHEMA = 1

_LARGEST = 16 * 2**20
_KINDS: dict[str, type] = {
    **dict.fromkeys(("name", "created_by"), str),
    **dict.fromkeys(("classes", "command", "notes", "adding"), list),
    **dict.fromkeys(("preprocessing", "stages", "backbone", "head", "receipt", "decided", "versions", "images"), dict),
}
_NEEDED = ("name", "classes", "preprocessing", "backbone", "head")
_JSON_NAMES: dict[type, str] = {str: "a text", list: "a list of texts", dict: "an object"}


def read_facts(folder: Path) -> dict[str, Any]:
    """What bundle.json says, checked as far as a reader may rely on it; raises BundleError with one sentence."""
    place = folder / FACTS
    if not place.is_file():
        raise BundleError(f"{_shown(folder)} is not a bundle: it holds no {FACTS}{_bundles_below(folder)}")
    if place.stat().st_size > _LARGEST:
        raise BundleError(f"{_shown(place)} is no bundle's: it is larger than {_LARGEST >> 20} MiB")
    try:
        text = place.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(f"{_shown(place)} cannot be read: {error}") from error
    facts = parse(text, source=place)
    if not isinstance(facts, dict):
        raise BundleError(f"{_shown(place)} is not a JSON object")
    if fault := _fault(facts):
        raise BundleError(f"{_shown(place)}: {fault}")
    return facts


def parse(text: str, *, source: Path | str) -> Any:
    """The value of a JSON text; raises BundleError for broken JSON, a repeated key, and a number that is not finite."""
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_not_finite, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{_shown(source)} is damaged: {printable(str(error))}") from error


def dump(value: object) -> bytes:
    """JSON in ASCII, one line per item: the same value gives the same bytes. Numbers must be finite."""
    return (json.dumps(value, allow_nan=False, indent=1) + "\n").encode("ascii")


def names(items: list[str]) -> str:
    """A listing of names from outside."""
    return listing([printable(item) for item in items])


def _fault(facts: dict[str, Any]) -> str:
    schema = facts.get("schema")
    if type(schema) is not int or schema < 1:  # True is an int too
        return f"schema must be a whole number from 1, but is {printable(repr(schema))}"
    if schema > SCHEMA:
        return (
            f"written by a newer finetune (schema {schema}, this one reads up to {SCHEMA}): update finetune to read it"
        )
    if type(facts.get("complete")) is not bool:
        return "complete must be true or false"
    for name, kind in _KINDS.items():
        if name in facts and not _is(facts[name], kind):
            return f"{name} must be {_JSON_NAMES[kind]}"
    if type(facts.get("multi_label", False)) is not bool:
        return "multi_label must be true or false"
    if "thresholds" in facts and not _are_thresholds(facts["thresholds"], facts.get("classes", [])):
        return "thresholds must be numbers from 0 to 1, one for each class"
    return _seal_fault(facts) if facts["complete"] else ""


def _seal_fault(facts: dict[str, Any]) -> str:
    if lacking := [name for name in _NEEDED if name not in facts]:
        return f"a complete bundle must say its {', '.join(lacking)}"
    if bool(facts.get("multi_label")) != ("thresholds" in facts):
        return "a complete bundle has thresholds where multi_label is true, and nowhere else"
    files = facts.get("files")
    if not isinstance(files, dict) or not all(isinstance(digest, str) for digest in files.values()):
        return "files must be an object of SHA-256 texts"
    return ""


def _are_thresholds(value: object, classes: list[str]) -> bool:
    if not isinstance(value, list) or len(value) != len(classes):
        return False
    return all(isinstance(one, int | float) and not isinstance(one, bool) and 0 <= one <= 1 for one in value)


def _is(value: object, kind: type) -> bool:
    return isinstance(value, kind) and (not isinstance(value, list) or all(isinstance(item, str) for item in value))


def _bundles_below(folder: Path) -> str:
    """runs/flowers is a likely slip for runs/flowers/3."""
    below = sorted(path.parent.name for path in folder.glob(f"*/{FACTS}"))
    return f"; these folders in it do:{names(below)}" if below else ""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key occurs twice")
    return found


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _not_finite(text)


def _not_finite(text: str) -> float:
    raise ValueError(f"{text} is not a finite number")


def _shown(path: Path | str) -> str:
    return repr(printable(str(path)))
