"""One file a paper; each registers its architectures."""
