"""The forms that a data set can have, as a recipe names them. Knows no files and no images."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag

from finetune.errors import printable, suggestion
from finetune.recipe.published import SETS
from finetune.recipe.section import Conflict, PathText, Section


def _column(text: str) -> str:
    if not text.strip() or _has_control(text):
        raise ValueError("a column is named as in the first line of the table, such as 'label'")
    return text.strip()


def _separator(text: str) -> str:
    if not text or _has_control(text):
        raise ValueError("a separator is what stands between labels, such as '|'")
    return text


def _published(text: str) -> str:
    if text not in SETS:
        near = suggestion(text, SETS) or f"; there are {', '.join(SETS)}"
        raise ValueError(f"{printable(text, limit=60)!r} is no set of torchvision that is known here{near}")
    return text


def _repository(text: str) -> str:
    if not re.fullmatch(r"[\w-][\w.-]{0,95}(/[\w-][\w.-]{0,95})?", text, re.ASCII) or ".." in text:
        raise ValueError("a set on the hub is named owner/set, such as ufldl-stanford/svhn")
    return text


def _hub_word(text: str) -> str:
    if not re.fullmatch(r"[\w-][\w./+-]{0,199}", text, re.ASCII) or ".." in text:
        raise ValueError("this is one word of letters, digits, '_', '-', '.' and '/'")
    return text


def _has_control(text: str) -> bool:
    return any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in text)


ColumnName = Annotated[str, Field(max_length=200), AfterValidator(_column)]
Separator = Annotated[str, Field(max_length=5), AfterValidator(_separator)]
PublishedName = Annotated[str, AfterValidator(_published)]
Repository = Annotated[str, AfterValidator(_repository)]
HubWord = Annotated[str, AfterValidator(_hub_word)]
OnBadImage = Annotated[
    Literal["skip", "error"], Field(description="skip leaves out up to 5 % of a class, or one image; error none")
]


class FolderData(Section):
    """Class folders, or train/, val/ and test/ above them."""

    example: ClassVar[str] = "{kind: folder, root: photos}"
    kind: Literal["folder"] = "folder"
    root: PathText = Field(description="the folder of images, relative to the recipe")
    pool: bool = Field(False, description="split folders on disk are put together and split anew")
    nested: bool = Field(False, description="folders inside class folders are classes too, named by their path")
    on_bad_image: OnBadImage = "skip"


class TableData(Section):
    """A table with a row for each image: CSV, TSV, JSON lines or Parquet."""

    example: ClassVar[str] = "{kind: table, file: photos.csv}"
    kind: Literal["table"] = "table"
    file: PathText = Field(description="a file .csv, .tsv, .jsonl or .parquet, relative to the recipe")
    root: PathText | None = Field(None, description="the folder that its paths start from; null: the table's own")
    path: ColumnName = Field("path", description="the column of image files")
    label: ColumnName | None = Field(None, description="the column of labels; null: 'label', or none beside classes")
    separator: Separator | None = Field(
        None, description="what stands between the labels of an image that may have several; null: each has one"
    )
    classes: tuple[ColumnName, ...] | None = Field(
        None, description="columns of 0 and 1, one for each class, where an image may have several"
    )
    split: ColumnName | None = Field(None, description="the column that says train, val or test")
    group: ColumnName | None = Field(None, description="the column of what must not be torn apart, such as patients")
    id: ColumnName | None = Field(None, description="the column of the images' own names; null: their paths")
    pool: bool = Field(False, description="the parts that the split column names are put together and split anew")
    on_bad_image: OnBadImage = "skip"

    def conflicts(self) -> Iterator[Conflict]:
        if self.classes is not None:
            if self.label is not None:
                yield ("label",), "label has no effect beside classes, whose columns say what an image shows; drop one"
            if self.separator is not None:
                yield ("separator",), "separator has no effect beside classes: their columns hold 0 and 1"
            if len(self.classes) < 2:
                yield ("classes",), f"classes needs at least 2 columns, not {len(self.classes)}"
            if any("|" in name for name in self.classes):
                yield ("classes",), "a class has no | in its name, which stands between labels elsewhere; rename it"
        if self.pool and self.split is None:
            yield ("pool",), "pool: true has no effect: no column is named as split, so there are no parts"
        singles = (self.path, self.label, self.split, self.group, self.id)
        repeated = [
            name for name, count in Counter([*filter(None, singles), *(self.classes or ())]).items() if count > 1
        ]
        if repeated:
            yield (), f"column {printable(repeated[0])!r} is named for two things; each needs a column of its own"


class TorchvisionData(Section):
    """A classification set that torchvision downloads."""

    example: ClassVar[str] = "{kind: torchvision, name: OxfordIIITPet}"
    kind: Literal["torchvision"] = "torchvision"
    name: PublishedName = Field(description="its class in torchvision.datasets", json_schema_extra={"enum": [*SETS]})
    root: PathText | None = Field(None, description="where torchvision keeps it; null: in the cache folder")
    pool: bool = Field(False, description="its own parts are put together and split anew")
    on_bad_image: OnBadImage = "skip"

    def conflicts(self) -> Iterator[Conflict]:
        if self.pool and len(SETS[self.name].parts) < 2:
            yield ("pool",), f"pool: true has no effect: {self.name} has no parts"


class HuggingfaceData(Section):
    """A data set on the Hugging Face hub with a column of images."""

    example: ClassVar[str] = "{kind: huggingface, name: owner/set}"
    kind: Literal["huggingface"] = "huggingface"
    name: Repository = Field(description="owner/set on the hub")
    config: HubWord | None = Field(None, description="which of its configurations; null: the only one")
    revision: HubWord | None = Field(None, description="a commit or tag; null: the newest, and a run writes down which")
    image: ColumnName | None = Field(None, description="the column of images; null: the only one")
    label: ColumnName | None = Field(None, description="the column of labels; null: the only one with class names")
    pool: bool = Field(False, description="its own parts are put together and split anew")
    on_bad_image: OnBadImage = "skip"


def _kind_of_data(value: object) -> str | None:
    """Data without a kind is a folder, but for a misspelt one."""
    if not isinstance(value, dict):
        return str(getattr(value, "kind", "folder"))
    if "kind" in value:
        return value["kind"] if isinstance(value["kind"], str) else None
    return None if any(suggestion(str(key), ["kind"]) for key in value) else "folder"


DataChoice = Annotated[
    Annotated[FolderData, Tag("folder")]
    | Annotated[TableData, Tag("table")]
    | Annotated[TorchvisionData, Tag("torchvision")]
    | Annotated[HuggingfaceData, Tag("huggingface")],
    Discriminator(_kind_of_data),
]
