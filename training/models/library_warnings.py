"""Deprecations of libraries that a user can do nothing about, kept from the screen by their very words."""

import logging
import warnings

CACHE_NAME = "`past_key_values`"
"""transformers 5.24 calls it ``cache``, which 5.20 does not know; both take the old name until 5.40."""
CACHE_LOGGER = "transformers.utils.generic"


def _is_news(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(CACHE_NAME)


def silence_deprecations() -> None:
    """Leave out what says that the cache's argument has a new name; everything else is still shown."""
    warnings.filterwarnings("ignore", message=f"{CACHE_NAME} is deprecated", category=FutureWarning)
    logging.getLogger(CACHE_LOGGER).addFilter(_is_news)  # the same function twice is one filter
