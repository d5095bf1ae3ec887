"""What is typed: values of the command line, and options that several commands share; imported by `cli.py` alone."""

from recipes.command_line.options import launchable, training_options
from recipes.command_line.values import Amount, Duration, Objective, Shape

__all__ = ["Amount", "Duration", "Objective", "Shape", "launchable", "training_options"]
