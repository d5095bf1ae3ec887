"""The programs of docs/deploy.md that install here."""

import asyncio
import shutil
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from recipes.predict import predict

PAGE = (Path(__file__).parents[1] / "docs" / "deploy.md").read_text("utf-8")


@pytest.fixture
def post(int8_file, tmp_path, monkeypatch):
    """Sends content to the server of the page, which is run here: (status, what it answers)."""
    shutil.copy(int8_file, tmp_path / "digits.tflite")
    monkeypatch.chdir(tmp_path)
    program = next(block for block in PAGE.split("```python\n") if "FastAPI()" in block).split("```")[0]
    names = {"__name__": "server"}
    exec(compile(program, "server.py", "exec"), names)

    async def sent(content):
        transport = httpx.ASGITransport(app=names["app"])
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            answer = await client.post("/predict", content=content)
            return answer.status_code, answer.json()

    return lambda content: asyncio.run(sent(content))


def test_the_server_gives_the_scores_of_predict(post, int8_file, digit_image, tmp_path):
    large = tmp_path / "large.png"
    Image.fromarray(np.repeat(np.repeat(np.asarray(Image.open(digit_image)), 3, 0), 2, 1)).save(large)
    for image in (digit_image, large):
        (expected,) = predict(int8_file, [image], top_k=10)
        assert post(image.read_bytes()) == (200, dict(expected.guesses))


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n"])
def test_the_server_refuses_what_is_no_image(post, content):
    status, answer = post(content)
    assert status == 422
    assert "the body" in answer["detail"]
