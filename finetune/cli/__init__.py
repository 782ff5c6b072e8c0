"""The command `finetune`: arguments in, messages and exit codes out. Nothing is decided here.

Commands import the rooms that they need when they are called, so that `--help` is there at once.
"""

from finetune.cli.app import main

__all__ = ["main"]
