"""The commands as a user meets them: what they print, where, and with which exit code."""

import csv
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from finetune import __version__, job
from finetune.bundle import Bundle
from finetune.cli import app, main
from finetune.errors import BrokenInstallation, FinetuneError
from tests.cli.conftest import Call
from tests.conftest import draw, draw_classes

Write = Callable[..., Path]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on red, green and blue images."""
    root = tmp_path_factory.mktemp("bundle")
    draw_classes(root / "photos", {"blue": 10, "green": 10, "red": 10})
    recipe = root / "toy.yaml"
    recipe.write_text(
        "data: {kind: folder, root: photos}\nbackbone: {name: test_resnet, weights: {kind: random}}\n"
        "schedule: {kind: full, epochs: 2}\nimages: {size: 32}\ntrain: {batch_size: 8}\n"
    )
    return job.run(recipe, output=root / "run").folder


def test_help_lists_every_command_with_a_summary(call: Call) -> None:
    code, out, _ = call("--help")
    assert code == 0
    for name in app._COMMANDS:
        assert name in out
        code, own, _ = call(name, "--help")
        assert code == 0, own
        assert max(map(len, own.splitlines())) <= 80
    assert max(map(len, out.splitlines())) <= 80


def test_version_is_that_of_the_package(call: Call) -> None:
    assert call("--version") == (0, f"finetune {__version__}\n", "")


def test_a_misspelt_command_is_met_with_the_near_one(call: Call) -> None:
    code, out, err = call("predcit")
    assert (code, out) == (2, "")
    assert err == "finetune: error[usage]: there is no command 'predcit'; did you mean 'predict'?\n"
    assert "the commands are init, check" in call("xyz")[2]


def test_a_wrong_option_is_a_matter_of_usage(call: Call) -> None:
    code, _, err = call("predict", "--tpo", "3", "x", "y")
    assert code == 2
    assert err == "finetune: error[usage]: finetune predict has no option '--tpo'; did you mean '--top'?\n"
    assert "has no option '--zzz'; see `finetune predict --help`" in call("predict", "--zzz", "x", "y")[2]


def test_without_a_command_the_help_is_shown(call: Call) -> None:
    code, out, err = call()
    assert (code, out) == (2, "")
    assert err.lower().startswith("usage: finetune")
    assert max(map(len, err.splitlines())) <= 80


def test_an_error_breaks_between_words_on_a_terminal(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = call("check", tmp_path / "a" / "b")[2]
    assert plain.count("\n") == 1
    monkeypatch.setattr(app.sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    wrapped = app._shown(plain)
    assert wrapped.split() == plain.split()
    assert len(wrapped.splitlines()) > 2


@pytest.mark.parametrize("command", ["init", "check", "plan", "run", "resume", "review", "report"])
def test_a_path_that_is_not_there_is_named_with_the_near_one(command: str, call: Call, photos: Path) -> None:
    code, out, err = call(command, photos.parent / "fotos")
    assert (code, out) == (2, "")
    assert "error[usage]: there is no" in err
    assert "did you mean 'photos'?" in err


def test_a_path_with_no_near_one_names_the_folder_that_is_there(call: Call, tmp_path: Path) -> None:
    assert f"{str(tmp_path)[-20:]} is there" in call("check", tmp_path / "a" / "b")[2]


def test_init_writes_a_recipe_that_runs_as_it_is(
    call: Call, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = call("init", "photos")
    assert code == 0
    assert Path("photos.yaml").read_text() == out
    assert "24 images of 3 classes" in out
    assert "finetune plan photos.yaml" in err
    code, out, err = call("init", "photos")
    assert code == 7
    assert "photos.yaml exists and is not overwritten" in err
    code, out, err = call(
        "run",
        "photos.yaml",
        "--set",
        "backbone={name: test_resnet, weights: {kind: random}}",
        "--set",
        "schedule.budget=10s",
    )
    assert code == 0, err
    assert "test accuracy" in out
    assert Path("runs/photos/1/report.html").exists()


@pytest.mark.parametrize("name", ["2024", "true", "null", "1e3", ".inf", "my photos", "été"])
def test_a_folder_of_any_name_can_be_looked_at(
    name: str, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    draw_classes(Path(name), {"a": 3, "b": 3})
    code, _, err = call("check", name)
    assert code == 0, err
    code, _, err = call("init", name, "--output", "r.yaml")
    assert code == 0, err
    assert call("check", "r.yaml")[0] == 0


@pytest.mark.parametrize("name", ["x\nname: evil", "esc\x1b", "bad\udcff"])
@pytest.mark.parametrize("command", ["check", "init", "run"])
def test_a_folder_whose_name_cannot_be_written_down_is_refused(
    command: str, name: str, call: Call, tmp_path: Path
) -> None:
    draw_classes(tmp_path / name, {"a": 3, "b": 3})
    code, out, err = call(command, tmp_path / name)
    assert (code, out) == (2, "")
    assert "cannot be written down; rename the folder" in err


def test_init_names_the_split_folders_it_finds(call: Call, tmp_path: Path) -> None:
    for part, count in (("train", 4), ("val", 2), ("test", 2)):
        draw_classes(tmp_path / "set" / part, {"a": count, "b": count})
    out = call("init", tmp_path / "set", "--output", tmp_path / "one.yaml")[1]
    assert "split: {kind: given, test: test, validation: val}" in out
    code, out, _ = call("check", tmp_path / "one.yaml")
    assert code == 0
    assert ["all", "classes", "12", "0", "4"] in [line.split() for line in out.splitlines()]


def test_init_and_check_take_a_table(call: Call, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    paths = sorted(photos.rglob("*.png"))
    rows = [f"{path.relative_to(tmp_path).as_posix()}\t{path.parent.name}" for path in paths]
    Path("shots.tsv").write_text("\n".join(["image\tlabel", *rows]))
    code, out, err = call("init", "shots.tsv")
    assert code == 0, err
    assert "data: {kind: table, file: shots.tsv, path: image}" in out
    assert Path("shots.yaml").read_text() == out
    assert call("check", "shots.yaml") == call("check", "shots.tsv")
    Path("shots.tsv").write_text("image\tlabel\nnone.png\tred\n")
    code, _, err = call("check", "shots.tsv")
    assert code == 3
    assert "shots.tsv:2: 'none.png'" in err


def test_check_counts_names_and_exits_with_three_for_data_that_will_not_do(call: Call, photos: Path) -> None:
    (photos / "red" / "notes.txt").write_text("x")
    code, out, _ = call("check", photos)
    assert code == 0
    assert "red/notes.txt" in out
    code, out, _ = call("check", photos, "--json")
    facts = json.loads(out)
    assert sum(part["images"] for part in facts["split"].values()) == 24
    (photos / "empty").mkdir()
    code, out, err = call("check", photos, "--json")
    assert code == 3
    assert json.loads(out)["findings"][0]["severity"] == "error"
    assert "error[data]" in err


def test_a_long_list_of_files_left_out_is_cut_and_counted(call: Call, photos: Path) -> None:
    for number in range(25):
        (photos / "red" / f"{number}.txt").write_text("x")
    out = call("check", photos)[1]
    assert "left out: 25" in out
    assert "… and 5 more; --json lists all" in out


def test_plan_prints_phases_and_writes_them(call: Call, photos: Path, tmp_path: Path, write_recipe: Write) -> None:
    recipe = write_recipe(photos, schedule="gradual")
    code, out, _ = call("plan", recipe, "--output", tmp_path / "plan.json")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    assert "stage4" in out
    planned = json.loads((tmp_path / "plan.json").read_text())
    assert json.loads(call("plan", recipe, "--json")[1]) == planned
    planned["phases"] = planned["phases"][:1]
    (tmp_path / "plan.json").write_text(json.dumps(planned))
    code, out, err = call("run", recipe, "--plan", tmp_path / "plan.json", "--output", tmp_path / "b", "--json")
    assert code == 0, err
    assert json.loads(out)["metrics"]["images"] == {"train": 12, "validation": 6, "test": 6, "left_out": 0}
    assert len((tmp_path / "b" / "history.jsonl").read_text().splitlines()) == 1


def test_plan_shows_no_part_that_folds_do_not_have_and_fits_into_80_columns(
    call: Call, photos: Path, write_recipe: Write
) -> None:
    (photos / "red" / ("w" * 90 + "-the-end.png")).write_bytes(b"torn")
    (photos / "red" / "000.png").with_name("copy.png").write_bytes((photos / "red" / "000.png").read_bytes())
    recipe = write_recipe(photos, schedule="probe")
    code, out, err = call("plan", recipe, "--set", "split.kind=folds", "--set", "split.folds=2")
    assert code == 0, err
    assert out.splitlines()[0].split() == ["class", "images"]
    assert "the-end.png: " in out
    assert max(map(len, out.splitlines())) <= 80
    assert call("plan", recipe)[1].splitlines()[0].split() == ["class", "training", "validation", "test"]


def test_run_refuses_a_folder_that_is_not_empty(call: Call, photos: Path, write_recipe: Write) -> None:
    code, _, err = call("run", write_recipe(photos), "--output", photos.parent)
    assert code == 7
    assert "error[output]" in err


def test_faults_of_a_recipe_come_with_their_lines(call: Call, tmp_path: Path) -> None:
    recipe = tmp_path / "bad.yaml"
    recipe.write_text("data: {kind: folder, rot: x}\nbackbone: {name: resnet5}\n")
    code, out, err = call("run", recipe)
    assert (code, out) == (2, "")
    assert "bad.yaml:1:22" in err
    assert "bad.yaml:2:12" in err
    assert "Traceback" not in err


def test_predict_keeps_the_order_and_gives_reasons(call: Call, bundle: Path, tmp_path: Path) -> None:
    draw(tmp_path / "=new.png", hue=(220, 60, 40), seed=1)
    (tmp_path / "broken.png").write_bytes(b"no image")
    paths = [
        tmp_path / "broken.png",
        tmp_path / "=new.png",
        tmp_path / "missing.png",
        bundle.parent / "photos" / "blue",
    ]
    output = tmp_path / "answers.csv"
    code, out, err = call("predict", bundle, *paths, "--output", output, "--top", 2)
    assert (code, out) == (0, "")
    assert "2 of 13 images could not be read" in err
    rows = list(csv.DictReader(output.read_text().splitlines()))
    assert [Path(row["path"]).name for row in rows[:3]] == ["broken.png", "=new.png", "missing.png"]
    assert rows[0]["error"]
    assert rows[0]["class_1"] == ""
    assert 0 <= float(rows[1]["probability_2"]) <= float(rows[1]["probability_1"]) <= 1
    code, out, _ = call("predict", bundle, *paths[:2], "--json")
    images = json.loads(out)["images"]
    assert images[0]["error"]
    assert images[1]["answers"][0]["class"] == rows[1]["class_1"]
    lines = tmp_path / "answers.jsonl"
    assert call("predict", bundle, paths[1], "--output", lines)[0] == 0
    assert json.loads(lines.read_text())["answers"] == images[1]["answers"]
    code, out, _ = call("predict", bundle, paths[1])
    assert out.startswith(f"{paths[1]}: {rows[1]['class_1']} 0.")


def test_cells_that_a_spreadsheet_would_run_are_made_harmless(
    call: Call, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    draw(Path("=cmd.png"), hue=(1, 2, 3), seed=1)
    call("predict", bundle, "=cmd.png", "--output", "out.csv")
    assert Path("out.csv").read_text().splitlines()[1].startswith("'=cmd.png,")


def test_predict_refuses_what_it_cannot_do(call: Call, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    code, _, err = call("predict", bundle, tmp_path / "broken.png")
    assert code == 3
    assert "none of the images could be read" in err
    code, _, err = call("predict", bundle, tmp_path / "broken.png", "--output", "x.txt")
    assert code == 2
    assert "neither .csv nor .jsonl" in err
    code, _, err = call("evaluate", bundle, bundle.parent / "photos", "--output", "x.txt")
    assert code == 2
    (tmp_path / "nothing").mkdir()
    code, _, err = call("predict", bundle, tmp_path / "nothing")
    assert code == 3


def test_evaluate_scores_a_labelled_folder(call: Call, bundle: Path, tmp_path: Path) -> None:
    root = tmp_path / "more"
    for number in range(3):
        draw(root / "blue" / f"{number}.png", hue=(220, 60, 40), seed=5000 + number)
        draw(root / "green" / f"{number}.png", hue=(40, 160, 60), seed=6000 + number)
    code, out, _ = call("evaluate", bundle, root)
    assert code == 0
    assert "accuracy" in out
    assert max(map(len, out.splitlines())) <= 80
    assert "optimistic" not in out
    out = call("evaluate", bundle, bundle.parent / "photos")[1]
    counts = Bundle.open(bundle).metrics["images"]
    seen = counts["train"] + counts["validation"]
    assert f"{seen} of these images are among those that the bundle was trained or chosen on" in out
    code, out, _ = call("evaluate", bundle, root, "--json", "--output", tmp_path / "rows.csv")
    scored = json.loads(out)
    assert (scored["images"], scored["seen_in_training"]) == (6, 0)
    rows = list(csv.DictReader((tmp_path / "rows.csv").read_text().splitlines()))
    right = np.mean([row["class"] == row["label"] for row in rows])
    assert scored["scores"]["accuracy"]["value"] == pytest.approx(right)


def test_evaluate_and_features_take_a_table(call: Call, bundle: Path, tmp_path: Path) -> None:
    for name, hue in (("blue", (220, 60, 40)), ("green", (40, 160, 60))):
        draw(tmp_path / f"{name}.png", hue=hue, seed=7)
    path = tmp_path / "shots.csv"
    path.write_text("file,class\nblue.png,blue\ngreen.png,green\n")
    code, out, err = call("evaluate", bundle, path, "--json")
    assert code == 0, err
    assert json.loads(out)["images"] == 2
    code, out, err = call("features", path, "--backbone", bundle, "--output", tmp_path / "features.csv")
    assert code == 0, err
    rows = list(csv.DictReader((tmp_path / "features.csv").read_text().splitlines()))
    assert [(row["key"], row["label"]) for row in rows] == [("blue.png", "blue"), ("green.png", "green")]
    path.write_text("file,class,split\nblue.png,blue,train\ngreen.png,green,train\n")
    assert call("evaluate", bundle, path)[0] == 2


def test_evaluate_refuses_unknown_classes_and_split_folders(call: Call, bundle: Path, tmp_path: Path) -> None:
    root = draw_classes(tmp_path / "more", {"blu": 3, "green": 3})
    code, _, err = call("evaluate", bundle, root)
    assert code == 3
    assert "'blu'; did you mean 'blue'?" in err
    draw_classes(tmp_path / "set" / "train", {"blue": 2, "green": 2})
    draw_classes(tmp_path / "set" / "val", {"blue": 2, "green": 2})
    code, _, err = call("evaluate", bundle, tmp_path / "set")
    assert code == 2
    assert "train, val" in err


def test_report_draws_again_here_or_elsewhere(call: Call, bundle: Path, tmp_path: Path) -> None:
    before = (bundle / "report.html").read_bytes()
    assert call("report", bundle)[0] == 0
    assert (bundle / "report.html").read_bytes() == before
    code, out, _ = call("report", bundle, "--output", tmp_path / "r.html")
    assert (code, out) == (0, f"report: {tmp_path / 'r.html'}\n")
    assert (tmp_path / "r.html").read_bytes() == before


def test_schema_is_json(call: Call) -> None:
    assert json.loads(call("schema")[1])["title"] == "finetune recipe"


def test_doctor_measures_and_plan_then_knows_the_time(call: Call, photos: Path, write_recipe: Write) -> None:
    recipe = write_recipe(photos)
    code, out, err = call("doctor", "--json")
    assert code == 0, err
    facts = json.loads(out)
    assert {"versions", "device", "hub", "measured"} <= facts.keys()
    assert "measured on this machine" in " ".join(call("plan", recipe)[1].split())
    assert "versions:" in call("doctor")[1]


def test_doctor_names_packages_that_do_not_fit_and_goes_on(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    from finetune.model import backbone

    def broken() -> None:
        raise BrokenInstallation("torch 1 and torchvision 2 do not work together")

    monkeypatch.setattr(backbone, "library", broken)
    code, out, _ = call("doctor", "--json")
    facts = json.loads(out)
    assert code == 0
    assert facts["packages fit together"] == "no: torch 1 and torchvision 2 do not work together"
    assert "measured" not in facts


def test_resume_of_a_complete_bundle_says_so(call: Call, bundle: Path) -> None:
    code, out, err = call("resume", bundle)
    assert code == 0
    assert "nothing to resume" in err
    assert "accuracy" in out


def test_debug_shows_the_traceback(photos: Path) -> None:
    with pytest.raises(FinetuneError):
        main(["check", str(photos / "nowhere"), "--debug"])


def test_a_bug_of_ours_is_one_line_and_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    app._report_bug(ValueError, ValueError("odd\n"), None)
    err = capsys.readouterr().err
    assert err.startswith("finetune: error[bug]: ValueError: odd\\x0a; this is a fault of finetune")
    assert "ValueError" in Path(err.rsplit(" ", 1)[1].strip()).read_text()
    Path(err.rsplit(" ", 1)[1].strip()).unlink()


def test_a_bug_of_ours_is_an_object_too_where_one_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    app._report_bug(ValueError, ValueError("odd"), None, as_json=True)
    out, err = capsys.readouterr()
    assert json.loads(out)["error"]["id"] == "bug"
    Path(err.rsplit(" ", 1)[1].strip()).unlink()


def test_sigterm_outside_of_a_run_has_its_code_and_its_object(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.app, "main", lambda **named: signal.raise_signal(signal.SIGTERM))
    code, out, _ = call("check", "x", "--json")
    assert code == 143
    assert json.loads(out)["error"]["message"] == "stopped by SIGTERM"
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_plan_that_is_not_there_is_a_matter_of_usage(call: Call, photos: Path, write_recipe: Write) -> None:
    code, _, err = call("run", write_recipe(photos), "--plan", photos / "plan.json")
    assert code == 2
    assert "there is no" in err


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (PermissionError(13, "Permission denied", "x.yaml"), 6, "error[resources]: permission denied: x.yaml"),
        (MemoryError(), 6, "error[resources]: not enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 6, "error[resources]: not enough memory"),
        (KeyboardInterrupt(), 130, "error[stopped]: stopped by SIGINT"),
    ],
)
def test_what_the_system_refuses_has_its_own_codes(
    error: BaseException, code: int, text: str, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **named: object) -> None:
        raise error

    monkeypatch.setattr(app.app, "main", fail)
    given, _, err = call("schema")
    assert given == code
    assert text in err


def test_a_reader_that_goes_away_is_no_error() -> None:
    command = f"{sys.executable} -m finetune backbones '' | head -n 1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_runtime_error_of_ours_is_not_taken_for_want_of_memory(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **named: object) -> None:
        raise RuntimeError("odd")

    monkeypatch.setattr(app.app, "main", fail)
    with pytest.raises(RuntimeError, match="odd"):
        call("schema")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_after_the_step_and_says_how_to_resume(
    number: int, code: int, photos: Path, tmp_path: Path, write_recipe: Write
) -> None:
    recipe = write_recipe(photos, schedule="{kind: full, epochs: 5000}")
    arguments = [sys.executable, "-m", "finetune", "run", str(recipe), "--output", str(tmp_path / "run")]
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("epoch    2/5000"):
            break
    process.send_signal(number)
    rest = process.stderr.read()
    assert process.wait(timeout=60) == code
    error = rest[rest.index("finetune: error[stopped]") :]
    assert "epochs are complete and kept; go on with\n    finetune resume" in error
    assert "Traceback" not in rest
    process.stdout.close()
    process.stderr.close()


def test_report_writes_the_model_card_that_the_run_wrote(call: Call, bundle: Path) -> None:
    before = (bundle / "MODEL_CARD.md").read_bytes()
    (bundle / "MODEL_CARD.md").unlink()
    assert call("report", bundle)[0] == 0
    assert (bundle / "MODEL_CARD.md").read_bytes() == before


def test_evaluate_compares_with_the_own_test_images_and_names_classes_without_any(
    call: Call, bundle: Path, tmp_path: Path
) -> None:
    draw_classes(tmp_path / "one", {"blue": 4, "green": 3})
    code, out, _ = call("evaluate", bundle, tmp_path / "one")
    assert code == 0
    assert "classes without images here" in out
    assert "against the bundle's own test images" in out
    told = json.loads(call("evaluate", bundle, tmp_path / "one", "--json")[1])
    assert "blue" not in told["classes_without_images"]
    drift, own = told["against_own_test_images"], json.loads((bundle / "metrics.json").read_text())["test"]["accuracy"]
    assert drift["value"] == pytest.approx(told["scores"]["accuracy"]["value"] - own["value"])


def test_evaluate_says_how_new_images_differ_and_draws_their_report(call: Call, bundle: Path, tmp_path: Path) -> None:
    root = tmp_path / "dim"
    for place, (name, hue) in enumerate((("blue", (90, 20, 10)), ("green", (10, 70, 20)), ("red", (20, 30, 90)))):
        for number in range(6):
            draw(root / name / f"{number}.png", hue=hue, seed=100 * place + number, size=(90, 80))
    before = {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()}
    code, out, err = call("evaluate", bundle, root, "--html", tmp_path / "page.html", "--json")
    assert code == 0
    assert "page written to" in err
    told = json.loads(out)
    assert told["drift"]["images"] == 18
    assert {row["fact"] for row in told["drift"]["facts"]} >= {"confidence", "brightness", "width"}
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "on <bdi>dim</bdi>" in page
    assert "finetune evaluate" in page
    out = call("evaluate", bundle, root)[1]
    assert max(map(len, out.splitlines())) <= 80
    assert "against the bundle's own test images" in out
    assert {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()} == before


def test_evaluate_refuses_options_without_effect(call: Call, bundle: Path, tmp_path: Path) -> None:
    assert "name a folder" in call("evaluate", bundle)[2]
    for option, name in (("--output", "rows.csv"), ("--html", "page.html")):
        code, _, err = call("evaluate", bundle, "--evidence", option, tmp_path / name)
        assert code == 2
        assert f"{option} has no effect" in err
    assert not (tmp_path / "page.html").exists()
