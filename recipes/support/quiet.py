"""Keeps what native libraries write to the terminal out of the user's sight, see `zoo.quiet`."""

from zoo.backend import import_keras
from zoo.quiet import native_output_hidden

__all__ = ["import_keras", "native_output_hidden"]
