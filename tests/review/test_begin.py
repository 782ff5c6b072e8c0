from pathlib import Path

import pytest

from finetune import job
from finetune.bundle import Bundle
from finetune.errors import UsageError
from finetune.review.begin import begin
from tests.review.toys import run_doubtful, write_doubtful


def test_corrections_go_to_the_working_folder(doubtful: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = begin(Bundle.open(doubtful))
    assert found.decisions.output == Path("corrections.csv")
    assert found.advice == (
        "to apply them, write in the recipe, whose paths start from its own folder: corrections: corrections.csv"
    )
    assert not (tmp_path / "corrections.csv").exists()


def test_nothing_is_written_among_the_images_or_into_the_bundle(doubtful: Path) -> None:
    with pytest.raises(UsageError, match="would lie among the images"):
        begin(Bundle.open(doubtful), output=doubtful.parent / "photos" / "c.csv")
    with pytest.raises(UsageError, match="would lie in the bundle, which is sealed"):
        begin(Bundle.open(doubtful), output=doubtful / "c.csv")


def test_corrections_of_the_recipe_are_gone_on_with(tmp_path: Path) -> None:
    recipe = write_doubtful(tmp_path)
    (tmp_path / "right.csv").write_text("path,action,label\nblue/was red.png,relabel,red\n")
    recipe.write_text(recipe.read_text() + "corrections: right.csv\n")
    found = begin(job.run(recipe, output=tmp_path / "run"))
    assert found.decisions.output == tmp_path / "right.csv"
    assert found.advice == f"the recipe names {tmp_path / 'right.csv'} already: run it again"
    assert "blue/was red.png" not in {shown.sample.key for item in found.queue.items for shown in item.images}


def test_two_reviews_of_a_bundle_find_the_same(tmp_path: Path) -> None:
    bundle = Bundle.open(run_doubtful(tmp_path))
    output = tmp_path / "c.csv"
    first = begin(bundle, output=output)
    first.decisions.decide({"blue/was red.png": first.queue.items[0].images[0].suggested})
    assert begin(bundle, output=output).queue == first.queue
