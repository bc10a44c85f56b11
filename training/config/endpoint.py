"""How an OpenAI-compatible server is named and reached."""

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field


def _without_credentials(url: str) -> str:
    parts = urlsplit(url)
    if parts.username or parts.password:  # the value stays out of the sentence, which may be logged
        raise ValueError("url holds a user name or password: remove them, and name a variable in api_key_env")
    if not parts.hostname:
        raise ValueError(f"url ({url!r}) names no host: write it as http://localhost:8000/v1")
    return url


def _is_a_variable(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError("api_key_env is not the name of an environment variable: write its name, not the key")
    return name


Url = Annotated[str, Field(pattern=r"^https?://"), AfterValidator(_without_credentials)]
"""Base address of a server, such as ``http://localhost:8000/v1``; it holds no credentials."""
KeyVariable = Annotated[str, AfterValidator(_is_a_variable)]
"""Name of the environment variable that holds a key."""
