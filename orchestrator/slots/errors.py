"""What ends the work of a rank of a slot."""


class FailedError(Exception):
    """The job came to an error nobody foresaw on another rank than the first; the text is its traceback."""


class RestartNeededError(Exception):
    """Ray Train has to restart the group of workers; its job then goes on from its checkpoint."""
