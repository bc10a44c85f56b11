"""Keys and passwords that this process was given, and their removal from what is shown and kept."""

import json
import os
import re
import time
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import quote, unquote

HIDDEN = "***"
"""What stands in a text where a secret stood."""
_NAMED = re.compile(
    r"(^|_)(TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY)S?(_(ID|KEY))?$", re.IGNORECASE
)
"""Names of environment variables that hold one."""
_SHORTEST = 8
"""Letters: a shorter value stands in texts that have nothing to do with it."""
_USER = re.compile(r"(?<=://)[^/\s@'\"<>]+@")
"""User and password, or a token, in an address."""
_named_elsewhere: set[str] = set()


def keep_secret(variable: str) -> None:
    """From here on the value of the environment variable ``variable`` is a secret, whatever its name is."""
    _named_elsewhere.add(variable)


def without_login(address: str) -> str:
    """``address`` without the user and password in it, so that it can be opened by whoever has a login."""
    return _USER.sub("", address)


def without_secrets(text: str) -> str:
    """``text`` with :data:`HIDDEN` for every secret in it, and for user and password in every address."""
    if "://" in text:
        text = _USER.sub(f"{HIDDEN}@", text)
    pattern = _pattern(int(time.monotonic()), len(os.environ), len(_named_elsewhere))
    return pattern.sub(HIDDEN, text) if pattern is not None else text


def _values(environment: Mapping[str, str]) -> set[str]:
    found = set()
    for name, value in environment.items():
        if _NAMED.search(name) or name in _named_elsewhere:
            found.add(value)
        elif "://" in value:
            for user in _USER.findall(value):
                found.update((password := user[:-1].partition(":")[2], unquote(password)))
    return {value for value in found if len(value.strip()) >= _SHORTEST}


@lru_cache(maxsize=1)
def _pattern(_second: int, _variables: int, _named: int) -> re.Pattern[str] | None:
    """What finds any secret as it is, in JSON and in an address; None where there are none.

    Looked up once a second: a live table asks for every one of its cells.
    """
    values = _values(os.environ)
    written = {form for value in values for form in (value, value.strip(), json.dumps(value)[1:-1], quote(value))}
    longest_first = sorted(written, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first))) if written else None
