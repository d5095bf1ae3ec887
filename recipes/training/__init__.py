"""One training: batches, optimizer, the loop around the epochs, and what it goes on from."""

__all__: list[str] = []
