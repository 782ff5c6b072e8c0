"""The command line, called as a user calls it."""

import sys
from collections.abc import Callable

import pytest

from finetune.cli import main

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Calls `finetune` with arguments: (exit code, standard output, standard error)."""

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        hook = sys.excepthook
        try:
            main([str(argument) for argument in arguments])
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        finally:
            sys.excepthook = hook
        out, err = capsys.readouterr()
        return code, out, err

    return run
