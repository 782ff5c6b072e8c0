"""`python -m finetune`: the same as the command."""

from finetune.cli import main

main()
