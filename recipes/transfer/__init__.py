"""Backbones that know something already, and the features they make."""

__all__: list[str] = []
