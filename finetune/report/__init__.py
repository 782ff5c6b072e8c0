"""A bundle as one HTML page that opens anywhere, offline: made from the files of the bundle alone."""

from finetune.report.page import render, write

__all__ = ["render", "write"]
