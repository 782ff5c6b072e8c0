"""The bundle that reviews are tried on, made once."""

from pathlib import Path

import pytest

from tests.review.toys import run_doubtful


@pytest.fixture(scope="session")
def doubtful(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with two suspected labels, copies and an outlier; nothing may be written into it or its images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FINETUNE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        return run_doubtful(tmp_path_factory.mktemp("doubtful"))
