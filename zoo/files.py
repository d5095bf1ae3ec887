"""Files that may be opened. A pipe or a device, which may lie where a file is meant, would be read without end."""

import os
from pathlib import Path

from zoo.errors import RequestError

NOT_A_FILE = "is not a file but a pipe, socket or device."


def check_file(path: str | Path) -> Path:
    """The path of a regular file, or of a link to one.

    Raises:
        RequestError: there is nothing, or something else; the message says what.
    """
    file = Path(path)
    if not os.path.isfile(file):  # unlike the method of `Path`, no error for names that no file can have
        what = "is a folder." if os.path.isdir(file) else NOT_A_FILE if os.path.exists(file) else "does not exist."
        raise RequestError(f"{path} {what}")
    return file
