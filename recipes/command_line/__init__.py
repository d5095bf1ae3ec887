"""The commands, each of which parses, calls one recipe and prints what it returns; imported by `cli.py` alone."""

__all__: list[str] = []
