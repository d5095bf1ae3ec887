"""A headless Chromium, where there is one: what a page looks like to it, and what it complains of."""

import contextlib
import html.parser
import shutil
import subprocess
import threading

import pytest

from recipes.demo.server import server_of

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync")
FLAGS += ("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage")
FLAGS += ("--enable-logging=stderr", "--v=0")


def installed():
    """The path of a Chromium; skips the test where there is none."""
    browser = next(filter(None, map(shutil.which, NAMES)), None)
    if browser is None:
        pytest.skip(f"none of {', '.join(NAMES)} is installed (Debian: apt-get install chromium)")
    return browser


def open_page(file, profile, *options, timeout=90):
    """Opens a file with a fresh profile: (the document after loading, lines of the browser's console).

    Skips the test where no Chromium is installed.
    """
    command = [installed(), *FLAGS, f"--user-data-dir={profile}", "--dump-dom", *options, file.resolve().as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stderr
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@contextlib.contextmanager
def serving(folder):
    """The address of a folder's files, as long as the block lasts."""
    with server_of(folder) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class Page(html.parser.HTMLParser):
    """The elements of a document and their attributes, in order."""

    def __init__(self, text):
        super().__init__()
        self.elements = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]
