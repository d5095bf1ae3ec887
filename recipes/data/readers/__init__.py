"""One file a kind of source: each tells what there is before an image is opened."""

__all__: list[str] = []
