"""What is done to a model: data, augmentation, fit, evaluate, export, predict. One module a command."""
