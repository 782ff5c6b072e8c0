import numpy as np

from finetune.audit.cells import MOST, SMALLEST, Cells, cut


def sizes(cells: Cells) -> list[int]:
    return np.bincount(cells.leaf).tolist()


def test_numbers_are_halved_six_times() -> None:
    values = np.random.default_rng(0).permutation(6400).astype(float)
    cells = cut(values)
    assert sizes(cells) == [100] * MOST
    assert [len(starts) for starts in cells.starts] == [1, 2, 4, 8, 16, 32, 64]
    assert (np.diff([values[cells.leaf == leaf].mean() for leaf in range(MOST)]) > 0).all()


def test_equal_values_are_never_parted_and_no_cell_is_small() -> None:
    generator = np.random.default_rng(1)
    values = np.where(generator.random(500) < 0.4, 7.0, generator.normal(7, 3, 500))
    cells = cut(values)
    assert len(set(cells.leaf[values == 7.0])) == 1
    assert min(sizes(cells)) >= SMALLEST
    assert len(sizes(cells)) > 20


def test_columns_are_halved_in_turn_and_one_that_is_all_equal_is_passed_over() -> None:
    corner = np.stack([np.repeat([0, 1], 50), np.tile([0, 1], 50), np.full(100, 3)], axis=1)
    cells = cut(corner)
    assert sizes(cells) == [25] * 4
    assert len({(*row, leaf) for row, leaf in zip(corner.tolist(), cells.leaf.tolist(), strict=True)}) == 4


def test_unknown_numbers_are_a_cell_of_their_own() -> None:
    values = np.arange(40.0)
    values[[3, 30]] = np.nan
    leaf = cut(values).leaf
    assert leaf[3] == leaf[30]
    assert (leaf == leaf[3]).sum() == 2
    assert cut(np.full(3, np.nan)).leaf.tolist() == [0, 0, 0]


def test_every_step_gathers_the_leaves_of_the_next() -> None:
    values = np.random.default_rng(2).choice([0.0, 1.0, 2.0, 5.0, np.nan], 300)
    cells = cut(values)
    for coarse, fine in zip(cells.starts, cells.starts[1:], strict=False):
        assert coarse[0] == 0
        assert set(coarse) <= set(fine)
    assert cells.starts[-1].tolist() == list(range(len(sizes(cells))))
    assert len(sizes(cells)) == 5


def test_texts_that_are_rare_are_together_and_none_is_the_empty_text() -> None:
    values = np.array([*["a"] * 6, *["b"] * 5, *"cdef", "", None, "", None, ""], dtype=object)
    cells = cut(values)
    assert cells.leaf.tolist() == [0] * 6 + [2] * 5 + [3] * 4 + [1] * 5
    many = np.array([f"{number % 100:02}" for number in range(1000)])
    assert len(sizes(cut(many))) == MOST


def test_the_order_of_images_does_not_matter() -> None:
    generator = np.random.default_rng(3)
    order = generator.permutation(200)
    for values in (generator.choice(8, (200, 2)).astype(float), generator.choice(list("abcdefgh"), 200)):
        assert np.array_equal(cut(values[order]).leaf, cut(values).leaf[order])


def test_whole_numbers_and_truth_values_are_numbers() -> None:
    values = np.arange(20)
    assert np.array_equal(cut(values).leaf, cut(values.astype(float)).leaf)
    assert sizes(cut(values < 8)) == [12, 8]
