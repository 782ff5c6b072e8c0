import pytest

from finetune.bundle import Unwritten
from finetune.errors import BundleError, OutputTaken


def test_files_in_memory_read_as_those_of_a_finished_bundle(tmp_path):
    found = Unwritten(tmp_path, {"name": "toy"}, {"metrics.json": b'{"test": {}}', "history.jsonl": b'{"epoch": 1}\n'})
    assert found.complete
    assert found.facts["name"] == "toy"
    assert found.metrics == {"test": {}}
    assert found.history == [{"epoch": 1}]
    assert found.has("metrics.json")
    assert not found.has("report.html")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(BundleError, match=r"holds no 'plan\.json'"):
        found.read("plan.json")
    with pytest.raises(OutputTaken):
        found.write("metrics.json", b"{}")
