"""What is done to a model: data, augmentation, fit, evaluate, export, predict. One module a command.

The modules that the commands are made of lie in rooms, see docs/architecture.md.
"""

from recipes.support.moved import keep_old_names

keep_old_names()
