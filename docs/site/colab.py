"""Links that open the notebooks in Colab, which reads those of a repository on GitHub."""

import re

NOTEBOOK = re.compile(r"\[[^\]]+\]\((notebooks/\w+\.ipynb)\)")


def extended(markdown: str, repository: str) -> str:
    """A page with such a link behind each link to a notebook, if it is known which repository the site is built of."""
    if not repository:
        return markdown
    address = f"https://colab.research.google.com/github/{repository}/blob/main/docs"
    return NOTEBOOK.sub(lambda found: f"{found[0]} ([open in Colab]({address}/{found[1]}))", markdown)
