"""The command line: parse, call the library, print. One file a group of commands."""

from .main import main

__all__ = ["main"]
