"""What is typed: values of the command line, and options that several commands share; imported by `cli.py` alone."""

__all__: list[str] = []
