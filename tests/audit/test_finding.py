import re
from pathlib import Path

import finetune.audit
from finetune.audit.finding import called

WRITTEN = re.compile(r'Finding\(\s*"([a-z]+)", f?"([a-z{}-]+)"')
IN_LETTERS = {"unreadable", "outliers"}  # whose kinds are words already


def test_what_checks_find_is_called_by_words_of_people() -> None:
    sources = [path.read_text() for path in Path(finetune.audit.__path__[0]).glob("*.py")]
    written = {(check, kind) for source in sources for check, kind in WRITTEN.findall(source)}
    kinds = {(check, kind.replace("{exact}", how)) for check, kind in written for how in ("exact", "near")}
    assert len(kinds) > 20
    assert {check for check, kind in kinds if ":" in called(check, kind)} <= IN_LETTERS


def test_a_kind_without_a_name_of_its_own_is_spelt_out() -> None:
    assert called("unreadable", "git-lfs-pointer") == "files: git lfs pointer"
    assert called("elsewhere", "some-thing") == "elsewhere: some thing"
