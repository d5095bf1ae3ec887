"""A page that runs a file in the browser: what is written, what is refused, and in a real browser what it does.

The browser is a Chromium that is installed, driven by playwright. LiteRT.js is that of the folder CONVZOO_LITERTJS, or
npm fetches it. Where one of them is missing, these tests are skipped.
"""

import contextlib
import io
import itertools
import json
import os
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from base64 import b64encode
from hashlib import sha256, sha384
from pathlib import Path

import numpy as np
import pytest
from browser import installed, serving
from PIL import Image
from test_scorers import as_a_strangers, written_again
from test_strangers import change, small_model, written

from recipes.data.decoding import RESIZE_RULES, decode_to
from recipes.demo import runtime, write_demo
from recipes.demo.server import server_of
from recipes.tflite.file import TFLiteFile
from zoo.errors import RequestError

KINDS = ("float32", "float16", "dynamic", "int8")


@pytest.fixture(scope="session")
def written_demo(int8_file, once):
    """A demo of the int8 file that loads LiteRT.js from the CDN. Tests read it."""
    return once("demo-int8", lambda folder: write_demo(int8_file, out=folder / "demo", data="digits")) / "demo"


def facts_of(folder):
    return json.loads((folder / "demo.json").read_text("utf-8"))


def arrays_of(folder):
    """Scores, images and decoded probes, as the page unpacks them."""
    facts, content = facts_of(folder), (folder / "examples.bin").read_bytes()
    count, classes = facts["examples"]["count"], len(facts["classes"])
    scores = np.frombuffer(content, "<f4", count * classes).reshape(count, classes)
    images = np.frombuffer(content, np.uint8, offset=scores.nbytes).reshape(-1, *facts["shape"])
    return scores, images[:count], images[count:]


def test_what_is_written_is_the_file_with_images_that_it_scored(written_demo, int8_file):
    facts, (scores, images, probes) = facts_of(written_demo), arrays_of(written_demo)
    assert (written_demo / "model.tflite").read_bytes() == int8_file.read_bytes()
    assert {file.name for file in written_demo.iterdir()} == {
        *("index.html", "demo.js", "style.css", "demo.json", "examples.bin", "model.tflite")
    }
    file = TFLiteFile(int8_file)
    np.testing.assert_array_equal(scores, file.predict(images))
    assert facts["sha256"] == sha256(int8_file.read_bytes()).hexdigest()
    assert facts["classes"] == list("0123456789")
    assert facts["pad"] == {"ground": 0, "ink": 255}
    labels = np.array(facts["examples"]["labels"])
    right = scores.argmax(1) == labels
    assert 0 < (~right).sum() <= 12  # three epochs leave mistakes
    assert set(labels[right]) == set(range(10))
    assert len(probes) == len(facts["probes"]) == 3


def test_the_page_loads_nothing_else_than_it_says(written_demo):
    page = (written_demo / "index.html").read_text("utf-8")
    imports = re.search(r'<script type="importmap">(.*?)</script>', page, re.DOTALL)[1]
    assert f"'sha256-{b64encode(sha256(imports.encode()).digest()).decode()}'" in page
    addresses = json.loads(imports)
    assert set(addresses["imports"].values()) == set(addresses["integrity"])
    builds = facts_of(written_demo)["runtime"]["builds"]
    places = [place for build in builds.values() for place in build.values()]
    assert all(place["url"].startswith(f"{runtime.CDN}/npm/@litertjs/core@{runtime.VERSION}/") for place in places)
    assert all(re.fullmatch(r"sha384-[\w+/]{64}", place["integrity"]) for place in places)
    assert "unsafe-inline" not in page
    assert "unsafe-eval'" not in page.replace("wasm-unsafe-eval'", "")


def test_it_is_written_again_over_itself_and_over_nothing_else(int8_file, tmp_path):
    out = tmp_path / "demo"
    write_demo(int8_file, out=out)
    (out / "mine.txt").write_text("kept")
    write_demo(int8_file, out=out)
    assert (out / "mine.txt").read_text() == "kept"
    other = tmp_path / "other"
    other.mkdir()
    (other / "demo.json").write_text("{}")
    with pytest.raises(RequestError, match=r"other holds something else than a demo; allowed: a new folder"):
        write_demo(int8_file, out=other)
    with pytest.raises(RequestError, match="is a file; allowed: a new folder"):
        write_demo(int8_file, out=int8_file)


def test_a_file_that_is_alone_verifies_itself_with_made_up_images(int8_file, tmp_path):
    theirs = as_a_strangers(int8_file, tmp_path / "theirs.tflite")
    demo = write_demo(theirs, out=tmp_path / "demo")
    facts = facts_of(tmp_path / "demo")
    assert "no image is known of it" in demo.remarks[0]
    assert (facts["named"], facts["classes"]) == (False, list("0123456789"))
    assert not facts["examples"]["shown"]
    assert facts["examples"]["count"] == 20


@pytest.mark.parametrize(("told", "kept"), [(0.9, 0.9), (1, 1.0), (0, None), ("high", None), (True, None), (2.5, None)])
def test_a_threshold_is_taken_where_it_is_one(int8_file, tmp_path, told, kept):
    file = written_again(int8_file, tmp_path / "sure.tflite", {"threshold": told})
    write_demo(file, out=tmp_path / "demo")
    assert facts_of(tmp_path / "demo")["threshold"] == kept


def test_files_that_no_browser_runs_are_refused_in_one_line(int8_file, tmp_path):
    def refused(message, source, **options):
        with pytest.raises(RequestError, match=message) as refusal:
            write_demo(source, out=tmp_path / "demo", **options)
        assert "\n" not in str(refusal.value)
        assert not (tmp_path / "demo").exists()

    def changed(*changes):
        model = small_model()
        for path, value in changes:
            change(path, value)(model)
        return written(model, tmp_path / "theirs.tflite")

    refused(r"has 2 inputs; allowed: a model from one image to scores", changed(("inputs", [0, 1])))
    refused(r"has images of int8; allowed in a browser: float32, uint8: export it as", changed())
    refused(r"has images of float64; allowed: float32", changed(("tensors.0.type", 10)))
    refused("does not exist", tmp_path / "missing.tflite")
    (tmp_path / "model.keras").write_text("x")
    refused(r"model.keras is no .tflite file; allowed: such a file, or a run", tmp_path / "model.keras")
    refused("--runtime .*nowhere is no folder; allowed: where `npm install", int8_file, runtime=tmp_path / "nowhere")
    refused("has no @litertjs/core and @litertjs/wasm-utils", int8_file, runtime=tmp_path)
    refused("nosuch", int8_file, data="nosuch")


def test_a_run_has_its_file_shown_or_is_exported(digits_run, int8_file, tmp_path):
    run = shutil.copytree(digits_run.path, tmp_path / "run")
    shutil.copy(int8_file, run / "lenet5-int8.tflite")
    demo = write_demo(run, out=tmp_path / "demo")
    assert demo.file == str(run / "lenet5-int8.tflite")
    assert facts_of(tmp_path / "demo")["examples"]["scored"] == 1000  # the test images of the run
    (run / "lenet5-int8.tflite").unlink()
    demo = write_demo(run, out=tmp_path / "demo")
    assert demo.file == str(run / "lenet5-float32.tflite")


def test_the_server_is_for_this_machine(written_demo):
    with serving(written_demo) as address:
        with urllib.request.urlopen(f"{address}/demo.js") as answer:
            assert answer.headers["Content-Type"] == "text/javascript"
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(urllib.request.Request(address, headers={"Host": "elsewhere.example"}))
    with server_of(written_demo) as server:
        assert server.server_address[0] == "127.0.0.1"


def test_the_command_says_where_the_page_is(int8_file, tmp_path, capsys):
    import cli

    assert cli.main(["demo", str(int8_file), "--out", str(tmp_path / "demo")]) == 0
    said = capsys.readouterr()
    assert f"{tmp_path / 'demo'}/index.html" in said.out
    assert "Warning: " in said.err
    assert cli.main(["demo", str(tmp_path / "no.tflite"), "--out", str(tmp_path / "other")]) == 2


# In a browser.


@pytest.fixture(scope="session")
def litertjs(once):
    """The folder that LiteRT.js is in: named by the environment, or fetched by npm."""
    if named := os.environ.get("CONVZOO_LITERTJS"):
        return Path(named)
    if (npm := shutil.which("npm")) is None:
        pytest.skip("CONVZOO_LITERTJS names no folder of LiteRT.js, and npm is not installed")

    def fetch(folder):
        packages = [f"{name}@{runtime.VERSION}" for name in runtime.MODULES]
        command = [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(folder), *packages]
        done = subprocess.run(command, capture_output=True, text=True, timeout=180)
        (folder / "error.txt").write_text(done.stderr if done.returncode else "")

    folder = once("litertjs", fetch)
    if error := (folder / "error.txt").read_text():
        pytest.skip(f"npm does not fetch LiteRT.js: {error.splitlines()[0]}")
    return folder


@pytest.fixture(scope="module")
def chromium():
    playwright = pytest.importorskip("playwright.sync_api")
    path = installed()
    flags = ["--no-sandbox", "--use-fake-device-for-media-stream"]
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=flags)
        yield browser
        browser.close()


@contextlib.contextmanager
def opened(chromium, folder, *, permissions=(), routes=None, ready=True, **options):
    """A page of a folder, once it has verified itself. It says nothing in the console, and asks no other host."""
    with serving(folder) as address:
        context = chromium.new_context(permissions=list(permissions), **options)
        context.add_init_script(
            "window.scored = []; document.addEventListener('scored', ({ detail }) => scored.push(detail));"
        )
        page = context.new_page()
        page.complaints = []
        page.on("console", lambda message: page.complaints.append(message.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))

        def route(asked):
            if asked.request.url.startswith((address, "blob:", "data:")):
                asked.continue_()
            elif routes is None:
                page.complaints.append(asked.request.url)
                asked.abort()
            else:
                routes(asked)

        context.route("**/*", route)
        page.goto(address)
        if ready:
            page.wait_for_selector("html[data-ready]", timeout=30_000)
            yield page, json.loads(page.evaluate("document.documentElement.dataset.ready"))
            assert page.complaints == []
        else:
            yield page, {}
        context.close()


def says(page, place, text):
    """Waits for an element to hold what a regular expression matches."""
    page.locator(place, has_text=re.compile(text)).wait_for(timeout=10_000)


def next_scores(page, before):
    """The scores that came after the first `before`, and the milliseconds that they took to come.

    It is asked for again and again: a promise of the page's that a test waits for may be collected before it is kept.
    """
    deadline = time.monotonic() + 30
    while (found := page.evaluate("(number) => scored[number]", before)) is None:
        assert time.monotonic() < deadline, "nothing was scored within 30 seconds"
        page.wait_for_timeout(5)
    return found


def move(page, name, value):
    """Moves a slider, and waits: the scores, and the milliseconds that they took to come."""
    before = page.evaluate(
        """([name, value]) => {
            const slider = document.getElementById(name);
            const before = scored.length;
            slider.value = value;
            slider.dispatchEvent(new Event('input', { bubbles: true }));
            return before;
        }""",
        [name, value],
    )
    return next_scores(page, before)


@pytest.fixture(scope="session")
def demos(once, digits_run, litertjs):
    """`demos(kind)`: the demo of `digits_run` as a file of that kind, with LiteRT.js in its folder."""
    from recipes.export.handover import export

    def demo(kind):
        def make(folder):
            export(digits_run, to=kind, out=folder / f"digits-{kind}.tflite")
            write_demo(folder / f"digits-{kind}.tflite", out=folder / "demo", data="digits", runtime=litertjs)

        return once(f"demo-of-{kind}", make) / "demo"

    return demo


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_browser_gives_the_scores_that_python_gave(chromium, demos, kind):
    with opened(chromium, demos(kind)) as (page, found):
        assert found["agree"] == found["images"] == 100
        assert found["difference"] == 0 if kind == "int8" else found["difference"] < 1e-2
        assert found["digest"]
        assert [probe["most"] for probe in found["probes"]] == [0, 0, 0]
        page.wait_for_timeout(500)  # the curve
        lags = sorted(move(page, "angle", value)["lag"] for value in range(-90, 90, 6))
    print(
        f"{kind}: {found['agree']} of {found['images']} agree, first score after {found['first']:.0f} ms, "
        f"a slider's move is scored within {lags[len(lags) // 2]:.1f} ms (median; most {lags[-1]:.1f})"
    )


@pytest.mark.slow
def test_a_rotated_digit_is_scored_as_python_scores_it(chromium, demos):
    from recipes.augment.affine import affine_matrices
    from recipes.augment.warp import warp

    folder = demos("float32")
    file, (_, images, _) = TFLiteFile(folder / "model.tflite"), arrays_of(folder)
    height, width, _ = images.shape[1:]
    apart = []
    with opened(chromium, folder) as (page, _):
        for row, (angle, scale, shift, mirror) in enumerate(
            [(30, 1, 0, 0), (-135, 0.7, 3.5, 0), (90, 1, 0, 1), (7, 1.3, -2, 1)]
        ):
            moves = {"angle": angle, "scale": scale, "shiftX": shift, "shiftY": -shift}
            matrix = affine_matrices(
                **{"angle": angle, "scale": scale, "shift_x": shift, "shift_y": -shift},
                **{"flip_x": -1 if mirror else 1, "height": height, "width": width},
            )
            ours = warp(images[row : row + 1], matrix).numpy()
            theirs = page.evaluate(
                """async ([data, width, height, moves]) => {
                    const { warp } = await import('./demo.js');
                    return [...warp({ width, height, channels: 1, data: Uint8Array.from(data) }, moves).data];
                }""",
                [images[row].ravel().tolist(), width, height, {**moves, "mirror": bool(mirror)}],
            )
            apart.append(np.abs(ours.ravel().astype(int) - theirs))
        assert np.max(apart) <= 1
        assert np.mean(np.array(apart) > 0) < 0.01
        share = np.mean(np.array(apart) > 0)
        print(f"moved images: {share:.3%} of the values differ from Python's, by at most {np.max(apart)}")
        page.locator("#examples button").nth(3).click()
        says(page, "#summary", "is ahead")
        scores = move(page, "angle", 180)["scores"]
        labels = page.locator("#examples button").all_inner_texts()
        row = [i for i, label in enumerate(facts_of(folder)["examples"]["labels"]) if str(label) == labels[3].strip()]
        right = next(i for i in row if arrays_of(folder)[0][i].argmax() == int(labels[3]))
        np.testing.assert_allclose(scores, file.predict(np.rot90(images[right], 2)[None])[0], atol=1e-5)


@pytest.mark.slow
def test_images_are_decoded_and_resized_to_the_bit(chromium, demos):
    random = np.random.default_rng(0)
    cases = [
        ("RGB", (640, 411), (224, 224, 3), "PNG"),
        ("RGB", (33, 250), (28, 28, 1), "PNG"),
        ("L", (500, 90), (32, 32, 3), "PNG"),
        ("L", (11, 7), (32, 48, 1), "BMP"),
        ("P", (200, 200), (96, 64, 3), "GIF"),
        ("RGB", (601, 400), (64, 64, 3), "JPEG"),
        ("RGBA", (123, 456), (64, 64, 3), "PNG"),
        ("RGB", (1, 300), (28, 28, 3), "PNG"),
        ("RGBA", (48, 32), (32, 48, 3), "PNG"),
    ]
    with opened(chromium, demos("int8")) as (page, _):
        for (mode, size, shape, encoding), rule in itertools.product(cases, RESIZE_RULES):
            coarse = Image.fromarray(random.integers(0, 256, (9, 9, 4), np.uint8), "RGBA").resize(size)
            noise = Image.fromarray(random.integers(0, 256, (size[1], size[0], 4), np.uint8), "RGBA")
            file = io.BytesIO()
            options = {"exif": turned()} if encoding == "JPEG" else {}
            Image.blend(coarse, noise, 0.1).convert(mode).save(file, encoding, **options)
            ours = decode_to("x", shape, rule, file.getvalue())
            theirs = page.evaluate(
                """async ([content, [height, width, channels], rule]) => {
                    const { decode, resize } = await import('./demo.js');
                    const blob = new Blob([Uint8Array.from(atob(content), (c) => c.charCodeAt(0))]);
                    return [...resize(await decode(blob, channels), width, height, rule).data];
                }""",
                [b64encode(file.getvalue()).decode(), list(shape), rule],
            )
            apart = np.abs(ours.ravel().astype(int) - theirs)
            print(f"{rule}, {mode} {encoding} {size}: {np.mean(apart > 0):.2%} differ, by at most {apart.max()}")
            assert apart.max() <= (1 if mode == "RGBA" else 0), (mode, size, shape, encoding, rule)


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


@pytest.mark.slow
def test_a_digit_is_drawn_with_pen_and_keys(chromium, demos):
    with opened(chromium, demos("float32"), viewport={"width": 390, "height": 844}, color_scheme="dark") as (page, _):
        page.get_by_role("tab", name="Draw").click()
        assert page.inner_text("#name") == "Draw something"
        box = page.locator("#pad").bounding_box()
        page.mouse.move(box["x"] + 0.52 * box["width"], box["y"] + 0.2 * box["height"])
        page.mouse.down()
        page.mouse.move(box["x"] + 0.48 * box["width"], box["y"] + 0.8 * box["height"], steps=12)
        page.mouse.up()
        says(page, "#name", r"^1$")
        page.click("#clear")
        page.focus("#pad")
        for key in ("ArrowUp", " ", "ArrowDown"):
            for _ in range(1 if key == " " else 10):
                page.keyboard.press(key)
        says(page, "#name", r"^1$")
        page.focus("#angle")
        page.keyboard.press("ArrowRight")
        assert page.get_attribute("#angle", "aria-valuetext") == "+1°"
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.slow
def test_what_is_no_image_is_told_and_a_camera_may_be_refused(chromium, demos, digit_image):
    drop = """([name, content, type]) => {
        const data = new DataTransfer();
        data.items.add(new File([Uint8Array.from(atob(content), (c) => c.charCodeAt(0))], name, { type }));
        document.body.dispatchEvent(new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true }));
    }"""
    with opened(chromium, demos("float32")) as (page, _):
        page.evaluate(drop, ["notes.txt", b64encode(b"no image").decode(), "text/plain"])
        says(page, "#message", r"^notes.txt is not an image")
        page.evaluate(drop, ["six.png", b64encode(digit_image.read_bytes()).decode(), "image/png"])
        says(page, "#name", r"^6$")
        assert page.is_hidden("#message")
        page.evaluate(
            """() => {
                const data = new DataTransfer();
                data.setData('text/plain', 'words');
                document.dispatchEvent(new ClipboardEvent('paste', { clipboardData: data, bubbles: true }));
            }"""
        )
        assert page.inner_text("#message").startswith("What was pasted is no image")
        page.get_by_role("tab", name="File").click()
        page.set_input_files("#choose", digit_image)
        says(page, "#name", r"^6$")
        page.get_by_role("tab", name="Camera").click()
        page.get_by_role("button", name="Start the camera").click()
        says(page, "#message", r"^The camera was refused")
    with opened(chromium, demos("float32"), permissions=["camera"]) as (page, _):
        page.get_by_role("tab", name="Camera").click()
        page.get_by_role("button", name="Start the camera").click()
        page.get_by_role("button", name="Hold this image").wait_for()
        next_scores(page, page.evaluate("scored.length"))
        page.get_by_role("tab", name="Examples").click()
        assert page.is_hidden("#video")


@pytest.mark.slow
def test_below_its_threshold_it_is_not_sure(chromium, demos, litertjs, tmp_path):
    sure = written_again(demos("float32") / "model.tflite", tmp_path / "sure.tflite", {"threshold": 0.999})
    write_demo(sure, out=tmp_path / "demo", data="digits", runtime=litertjs)
    with opened(chromium, tmp_path / "demo") as (page, _):
        page.locator("#examples .wrong").first.click()
        says(page, "#name", r"^Not sure$")


@pytest.mark.slow
def test_what_comes_from_the_cdn_is_what_was_meant(chromium, written_demo, litertjs):
    scope = runtime.from_folder(litertjs).copied
    for file, digest in runtime.SHA384.items():
        assert b64encode(sha384(scope[file].read_bytes()).digest()).decode() == digest, file
    at = {runtime.from_cdn().addresses[file]: place for file, place in scope.items()}
    kinds = {".js": "text/javascript", ".wasm": "application/wasm"}

    def cdn(asked, spoiled=""):
        place = at[asked.request.url]
        body = place.read_bytes() + (b" " if place.name == spoiled else b"")
        headers = {"Content-Type": kinds[place.suffix], "Access-Control-Allow-Origin": "*"}
        asked.fulfill(body=body, headers=headers)

    with opened(chromium, written_demo, routes=cdn) as (_, found):
        assert found["agree"] == found["images"] == 100
    for spoiled in ("index.js", "litert_wasm_internal.js", "litert_wasm_internal.wasm"):
        with opened(chromium, written_demo, routes=lambda asked, s=spoiled: cdn(asked, s), ready=False) as (page, _):
            says(page, "#name", r"^It does not start$")
            assert page.inner_text("#message").startswith("LiteRT.js, or the file in it, cannot be loaded")
