"""What is wrong, or worth knowing, about a set, before anything is trained on it."""

__all__: list[str] = []
