"""LiteRT.js, which the page runs the file with: copied from a folder of npm, or loaded from a CDN and checked.

Nothing of it is in this package. Its two packages are `@litertjs/core` and `@litertjs/wasm-utils` (Apache-2.0).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo.errors import RequestError

VERSION = "2.5.3"
CDN = "https://cdn.jsdelivr.net"
SCOPE = "@litertjs"
MODULES = {f"{SCOPE}/core": "core/dist/index.js", f"{SCOPE}/wasm-utils": "wasm-utils/dist/index.js"}
# A browser computes with relaxed SIMD, or it does not; the page asks it, and loads one of them.
BUILDS = {
    name: {"script": f"core/wasm/{file}.js", "wasm": f"core/wasm/{file}.wasm"}
    for name, file in (("simd", "litert_wasm_internal"), ("compat", "litert_wasm_compat_internal"))
}
FILES = (*MODULES.values(), *(file for build in BUILDS.values() for file in build.values()))
# Of the files of VERSION as npm has them; a browser refuses others from a CDN.
SHA384 = {
    "core/dist/index.js": "MapSVJ/DPwvaWpp7q+Bid9O3uY1oB0KOU1QRMP+Mm5zdz5oMme/BUyX6dVAMWnPg",
    "wasm-utils/dist/index.js": "HIPwlWsctS5BRqrnvJKDVJ8SvqKB0QmiImdr6+hpP7+8UqeMJX/qrBkdfKQV2WZ/",
    "core/wasm/litert_wasm_internal.js": "NB/Wc4iozynQO5jzJ2VFoMKbqMvwwFGWxJL/o63IJT6W2JfZbsSLxA2cF6H/mLpQ",
    "core/wasm/litert_wasm_internal.wasm": "AZ/Ak4CbDpjqpSr8WsnoL3Dcx6bDFA/k9b/jahok1TGHZ2OqIRjLBMiEmiNedhlC",
    "core/wasm/litert_wasm_compat_internal.js": "oh4nb8zDq6eVOpGeZE5gwDOJ16QujHLL8k/HEXt3XiPxr+8zn3YnkXP8P3BlJET1",
    "core/wasm/litert_wasm_compat_internal.wasm": "glAZ6WjS7tLRt89pbTPXvLC1c7DCaVSfL2ngn5gZJiUuPs76fWYJy7ZeFaD0PJXx",
}


@dataclass(frozen=True)
class Runtime:
    """Where the page finds LiteRT.js.

    Attributes:
        version: of its packages.
        addresses: of each of `FILES`.
        sha384: of each of `FILES`, in base64; empty where they are copied.
        copied: where to copy each of `FILES` from; empty for a CDN.
    """

    version: str
    addresses: Mapping[str, str]
    sha384: Mapping[str, str]
    copied: Mapping[str, Path] = field(default_factory=dict)

    @property
    def origin(self) -> str:
        """Of the CDN, as a content security policy names it; empty where it lies beside the page."""
        return "" if self.copied else CDN

    def import_map(self) -> dict[str, dict[str, str]]:
        """The modules, and what browsers check them by."""
        return {
            "imports": {name: self.addresses[file] for name, file in MODULES.items()},
            "integrity": {
                self.addresses[file]: f"sha384-{self.sha384[file]}" for file in MODULES.values() if self.origin
            },
        }

    def to_dict(self) -> dict[str, Any]:
        """What the page is told of the rest."""

        def place(file: str) -> dict[str, str]:
            return {"url": self.addresses[file]} | ({"integrity": f"sha384-{self.sha384[file]}"} if self.origin else {})

        builds = {name: {part: place(file) for part, file in build.items()} for name, build in BUILDS.items()}
        return {"version": self.version, "from": self.origin, "builds": builds}


def from_cdn() -> Runtime:
    """The pinned version."""
    packages = {file: file.split("/", 1) for file in FILES}
    at = {file: f"{CDN}/npm/{SCOPE}/{package}@{VERSION}/{path}" for file, (package, path) in packages.items()}
    return Runtime(VERSION, at, SHA384)


def from_folder(folder: str | Path) -> Runtime:
    """What npm has put into a folder, to be copied beside the page.

    Args:
        folder: of `@litertjs/core`, or one above it: `node_modules`, or where that is.

    Raises:
        RequestError: the two packages are not there, or not whole.
    """
    scope = _scope(Path(folder))
    copied = {file: scope / file for file in FILES}
    if missing := [file for file, place in copied.items() if not place.is_file()]:
        raise RequestError(f"{scope} is not LiteRT.js {VERSION}: it has no {missing[0]}; allowed: {_allowed()}.")
    try:
        package = json.loads((scope / "core" / "package.json").read_bytes())
        version = str(package["version"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RequestError(
            f"{scope / 'core' / 'package.json'} does not tell a version; allowed: {_allowed()}."
        ) from error
    return Runtime(version, {file: f"./runtime/{file}" for file in FILES}, {}, copied)


def _scope(folder: Path) -> Path:
    """The folder that both packages lie in."""
    if not folder.is_dir():
        raise RequestError(f"--runtime {folder} is no folder; allowed: {_allowed()}.")
    for scope in (folder.parent, folder, folder / SCOPE, folder / "node_modules" / SCOPE):
        if all((scope / package).is_dir() for package in ("core", "wasm-utils")):
            return scope
    raise RequestError(f"--runtime {folder} has no {' and '.join(MODULES)}; allowed: {_allowed()}.")


def _allowed() -> str:
    return f"where `npm install {SCOPE}/core@{VERSION}` has put them, such as node_modules/{SCOPE}/core"
