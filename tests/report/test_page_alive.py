"""The page of a report in a browser."""

import pytest

from finetune import report
from tests.chromium import COMMAND, MISSING, Page

pytestmark = pytest.mark.skipif(COMMAND is None, reason=MISSING)

SEEN = "Array.from(document.querySelectorAll('.tiles .file')).map((line) => [line, line.firstElementChild])"


@pytest.mark.parametrize("width", [1400, 390])
def test_of_a_long_name_under_a_picture_the_end_is_shown(make_bundle, tmp_path, width):
    bundle = make_bundle()
    names = "document.querySelectorAll('.tiles .file bdi').forEach((name, place) => { name.textContent = "
    with Page(width=width) as page:
        (tmp_path / "page.html").write_text(report.render(bundle), encoding="utf-8")
        page.open(tmp_path / "page.html")
        page.get(names + "place ? 'a/' + 'w'.repeat(80) + '.jpg' : 'a/1.jpg' })")
        edges = page.get(
            f"{SEEN}.map(([line, name]) => [line, name].map((one) => one.getBoundingClientRect())"
            ".map((box) => [box.left, box.right]))"
        )
        assert len(edges) > 1
        for (left, right), (name_left, name_right) in edges[1:]:
            assert name_left < left
            assert abs(name_right - right) < 1
        (left, _), (name_left, _) = edges[0]
        assert abs(name_left - left) < 1  # one that has room begins where everything does
        assert page.get("document.documentElement.scrollWidth <= innerWidth")
        assert page.errors == []
