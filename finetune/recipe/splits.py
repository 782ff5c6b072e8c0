"""How images are divided into those to learn from, to choose by and to be scored on: the kinds of split."""

import re
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from finetune.recipe.section import Conflict, FolderName, PathText, Section, Share, folder_or_share

_LONGEST_PATTERN = 200


def _pattern(text: str) -> str:
    if len(text) > _LONGEST_PATTERN:
        raise ValueError(f"a pattern has at most {_LONGEST_PATTERN} characters, not {len(text)}")
    try:
        found = re.compile(text)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}; such as '(patient\\d+)_' or '^[^_]+'") from None
    if found.fullmatch(""):
        raise ValueError("a pattern that matches nothing at all names no group; such as '(patient\\d+)_' or '^[^_]+'")
    return text


Pattern = Annotated[
    str,
    Field(
        description="a regular expression, searched in each image's path below the data's root; what its parentheses "
        "match, or all that it matches, names the group. null: the data's own groups",
    ),
    AfterValidator(_pattern),
]


class Stratified(Section):
    """Shares of all images, the same in every class."""

    kind: Literal["stratified"] = "stratified"
    validation: Share = Field(0.15, description="share of all images to choose the best epoch on")
    test: Share = Field(0.15, description="share of all images that is scored once, at the end")

    def conflicts(self) -> Iterator[Conflict]:
        yield from _leaving_nothing(self.validation, self.test)


class Given(Section):
    """Split folders as found on disk; the validation images may be a share of the training images instead."""

    kind: Literal["given"] = "given"
    test: FolderName | None = Field(None, description="the folder of test images, such as test or val")
    validation: Annotated[str | float | None, BeforeValidator(folder_or_share)] = Field(
        None, description="the folder of validation images, or a share of the training images"
    )

    def conflicts(self) -> Iterator[Conflict]:
        if self.test is None and not isinstance(self.validation, str):
            yield (
                (),
                "a given split names a folder for test or validation; for shares alone write kind: stratified",
            )
        if self.test is not None and self.test == self.validation:
            yield (
                ("validation",),
                f"test and validation are the same folder {self.test!r}; a score on images that chose is no test",
            )


class Grouped(Section):
    """Shares of all images in which no group (a patient, a burst, a place) lies on two sides."""

    kind: Literal["grouped"] = "grouped"
    pattern: Pattern | None = None
    validation: Share = Field(0.15, description="share of all images to choose the best epoch on, about")
    test: Share = Field(0.15, description="share of all images that is scored once, at the end, about")

    def conflicts(self) -> Iterator[Conflict]:
        yield from _leaving_nothing(self.validation, self.test)


class Stored(Section):
    """The parts of another run, for images of the same content; images that it had not seen are learnt from."""

    kind: Literal["stored"] = "stored"
    of: PathText = Field(description="the folder of that run, or its catalog.csv, relative to the recipe")


class Folds(Section):
    """Every image is held out once: the whole job is run for each fold, and then for what ships, on all images."""

    kind: Literal["folds"] = "folds"
    folds: int = Field(5, ge=2, le=20, description="in how many parts the images are held out, one after the other")
    pattern: Pattern | None = None
    validation: Share | None = Field(
        None,
        description="share of the images that are learnt from, to choose the best epoch on; null: 0.15, and none for "
        "schedules that start from a probe",
    )


SplitChoice = Stratified | Given | Grouped | Stored | Folds


def _leaving_nothing(validation: float, test: float) -> Iterator[Conflict]:
    if validation + test >= 1:
        yield ("validation",), "validation and test together leave nothing to train on; their sum has to be below 1"
