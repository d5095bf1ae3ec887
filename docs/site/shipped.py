"""The demo on the first page: the model that its command trains, as the int8 file that is kept in docs/assets/.

    zoo fit lenet5 --data digits --out runs/first && zoo export runs/first --to int8

LiteRT.js, which runs it, is not kept: CONVZOO_LITERTJS names the folder that npm has put it into. Without that, the
first page has no demo.
"""

import os
import tempfile
from pathlib import Path

FILE = Path(__file__).parents[1] / "assets" / "lenet5-int8.tflite"
FOLDER, MARK = "try", "<!-- demo -->"
SECTION = f"""\
## Try it

That model as an int8 file of 75 kB, run by this page: draw a digit, turn it, shift it, scale it.

<details class="demo">
<summary>Start the model (loads 9 MB of LiteRT.js; your images stay here)</summary>
<iframe title="The model" src="{FOLDER}/index.html" loading="lazy" allow="camera"></iframe>
</details>
"""


def demo() -> dict[str, bytes]:
    """The files of the demo, by their paths in the site; none where there is no LiteRT.js."""
    if not (runtime := os.environ.get("CONVZOO_LITERTJS")):
        return {}
    from recipes.demo import write_demo

    with tempfile.TemporaryDirectory() as folder:
        write_demo(FILE, out=Path(folder, FOLDER), data="digits", runtime=runtime)
        files = [file for file in Path(folder).rglob("*") if file.is_file()]
        return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


def extended(path: str, markdown: str) -> str:
    """The first page with the demo, or without the place for it."""
    if path != "index.md":
        return markdown
    return markdown.replace(MARK, SECTION if os.environ.get("CONVZOO_LITERTJS") else "")
