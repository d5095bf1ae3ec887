"""What every room stands on: files written whole, the terminal, threads, optional packages."""

__all__: list[str] = []
