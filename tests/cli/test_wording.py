from finetune.cli.wording import fitted, headline, interval, scores_table, shortened

SCORE = {"value": 0.94321, "low": 0.9, "high": 0.97}
NONE = {"value": None, "reason": "no images of this class"}


def test_a_path_that_is_too_long_keeps_both_ends() -> None:
    assert shortened("roses/1.jpg", 20) == "roses/1.jpg"
    assert shortened("roses/" + "x" * 40 + "_n.jpg", 20) == "roses/…xxxxxxx_n.jpg"
    assert len(shortened("\x1b" * 40, 31)) == 31


def test_lines_break_between_words_and_go_on_further_in() -> None:
    assert fitted("one two three\n    four five", 10) == ["one two", "    three", "    four", "        five"]
    assert fitted("x" * 20, 10) == ["x" * 20]
    assert fitted("a:\n\n  b  c", 10) == ["a:", "", "  b  c"]


LAST = [{"best": False}, {"best": False}]  # ships whatever validation images say
EPOCHS = [{"best": True}, {"best": False}]


def test_the_headline_says_on_which_images() -> None:
    images = {"train": 9, "validation": 36, "test": 153}
    both = {"test": {"accuracy": SCORE}, "validation": {"accuracy": SCORE}, "images": images}
    assert headline(both, EPOCHS) == "test accuracy 0.943 [0.900, 0.970] on 153 images"
    both.pop("test")
    assert headline(both, EPOCHS) == (
        "validation accuracy 0.943 [0.900, 0.970] on 36 images, which also chose the epoch: it is optimistic"
    )
    assert headline(both, LAST) == "validation accuracy 0.943 [0.900, 0.970] on 36 images"
    held_out = {"accuracy": SCORE, "per_class": [{"support": 100}, {"support": 144}]}
    assert headline({"out_of_fold": held_out, "images": images}, []) == (
        "held-out accuracy 0.943 [0.900, 0.970] on 244 images, which also chose the head: it is slightly optimistic"
    )
    assert headline({"test": {"accuracy": SCORE}, "out_of_fold": held_out, "images": images}, []).startswith(
        "test accuracy"
    )
    assert headline({"images": images}, []) == "no test and no validation images: nothing was measured"


def test_the_headline_of_folds_says_that_each_image_was_held_out() -> None:
    images = {"train": 9, "validation": 0, "test": 0, "folds": 5}
    joined = {"accuracy": SCORE, "per_class": [{"support": 100}, {"support": 53}]}
    assert headline({"test": joined, "out_of_fold": joined, "images": images}, []) == (
        "5-fold accuracy 0.943 [0.900, 0.970] on 153 images, each held out once"
    )


def test_several_labels_have_a_headline_too() -> None:
    metrics = {"test": {"subset_accuracy": SCORE}, "images": {"test": 40}}
    assert headline(metrics, []) == "test subset accuracy 0.943 [0.900, 0.970] on 40 images"


def test_a_score_without_a_value_is_a_dash() -> None:
    assert interval(NONE) == "-"


def test_the_table_has_every_score_and_every_class() -> None:
    scores = {
        "accuracy": SCORE, "log_loss": SCORE, "top_k": {"1": SCORE, "3": SCORE}, "confusion": [[1]],
        "per_class": [{"class": "a\x1b", "support": 4, "recall": SCORE, "precision": SCORE},
                      {"class": "b", "support": 0, "recall": NONE, "precision": NONE}],
    }  # fmt: skip
    lines = scores_table(scores, images=4).splitlines()
    assert lines[0].startswith("4 images")
    assert [line.split()[0] for line in lines[1:]] == ["accuracy", "log", "top", "class", "a\\x1b", "b"]
    assert lines[-1].split() == ["b", "0", "-", "-"]
    assert all(len(line) <= 80 for line in lines)
