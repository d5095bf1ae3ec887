"""The page of `zoo demo` in a headless Chromium: first score, a slider's move to its score, and images that agree.

python benchmarks/demo.py --runtime node_modules/@litertjs/core
python benchmarks/demo.py runs/first/lenet5-int8.tflite --runtime node_modules/@litertjs/core
"""

import argparse
import json
import shutil
import sys
import tempfile
import threading
from pathlib import Path
from statistics import median

from recipes.demo import write_demo
from recipes.demo.server import server_of
from recipes.export.handover import export
from recipes.fit import fit

KINDS = ("float32", "float16", "dynamic", "int8")
MOVES = range(-90, 91, 3)
MOVE = """(value) => new Promise((done) => {
    document.addEventListener('scored', ({ detail }) => done(detail.lag), { once: true });
    const slider = document.getElementById('angle');
    slider.value = value;
    slider.dispatchEvent(new Event('input', { bubbles: true }));
})"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, help=".tflite files; without, those of a lenet5 trained here")
    parser.add_argument("--runtime", required=True, type=Path, help="the folder that npm has put @litertjs/core into")
    parser.add_argument("--repeats", type=int, default=5, help="loads of each page")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = arguments.files or _trained(Path(folder))
        found = [_measured(file, Path(folder), arguments) for file in files]
    if arguments.json:
        print(json.dumps(found, indent=1))
        return
    print(f"{'file':<24}{'first score':>14}{'slider to score':>26}{'agree':>14}{'scores apart':>14}")
    for row in found:
        lag = f"{row['lag']:.1f} ms, most {row['most_lag']:.1f}"
        agree = f"{row['agree']} of {row['images']}"
        print(f"{row['file']:<24}{row['first']:>11.0f} ms{lag:>26}{agree:>14}{row['difference']:>14.1e}")


def _trained(folder):
    run = fit("lenet5", data="digits", out=folder / "run", recipe="quick", quiet=True).run
    return [Path(export(run, to=kind).file) for kind in KINDS]


def _measured(file, folder, arguments):
    from playwright.sync_api import sync_playwright

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        sys.exit("no Chromium is installed (Debian: apt-get install chromium)")
    write_demo(file, out=folder / "demo", runtime=arguments.runtime)
    firsts, lags = [], []
    with server_of(folder / "demo") as server, sync_playwright() as driver:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for _ in range(arguments.repeats):
            page = browser.new_context().new_page()  # with nothing cached
            page.goto(f"http://127.0.0.1:{server.server_port}/")
            page.wait_for_selector("html[data-ready]")
            found = json.loads(page.evaluate("document.documentElement.dataset.ready"))
            firsts.append(found["first"])
            page.wait_for_timeout(500)
            lags += [page.evaluate(MOVE, value) for value in MOVES]
            page.context.close()
        browser.close()
        server.shutdown()
    kept = {key: found[key] for key in ("images", "agree", "difference")}
    return {"file": file.name, "first": median(firsts), "lag": median(lags), "most_lag": max(lags), **kept}


if __name__ == "__main__":
    main()
