"""A page that runs a `.tflite` file in the browser, with LiteRT.js."""

from recipes.demo.folder import Demo, write_demo

__all__ = ["Demo", "write_demo"]
