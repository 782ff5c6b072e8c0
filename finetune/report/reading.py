"""Files of a bundle as checked values. A stranger may have written the bundle: what does not fit is a BundleError that
names the file and the place in it.
"""

from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from finetune.bundle import Bundle
from finetune.errors import BundleError, printable
from finetune.report.sourced import located

T = TypeVar("T")


def read(kind: type[T], bundle: Bundle, name: str) -> T | None:
    """The value of a JSON file, None where the bundle has no such file; raises BundleError."""
    return checked(kind, bundle.read_json(name), bundle, name) if bundle.has(name) else None


def checked(kind: type[T], value: object, bundle: Bundle, name: str, *, place: str = "") -> T:
    """The value as this type, located in the file of that name; raises BundleError naming what does not fit."""
    try:
        found: T = TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "its value"
        raise damaged(bundle, name, f"{printable(where)}: {printable(first['msg'])}") from None
    located(found, f"{name}:{place}")
    return found


def jpeg(bundle: Bundle, name: str) -> bytes:
    """The bytes of a JPEG picture; raises BundleError for anything else."""
    data = bundle.read(name)
    if not data.startswith(b"\xff\xd8\xff"):
        raise BundleError(f"{shown(bundle, name)} is not a JPEG picture")
    return data


def damaged(bundle: Bundle, name: str, why: str) -> BundleError:
    """The error that says so."""
    return BundleError(f"{shown(bundle, name)} is damaged: {why}")


def shown(bundle: Bundle, name: str) -> str:
    """The path of a file of the bundle, in quotes, as a message shows it."""
    return repr(printable(str(bundle.folder / name)))
