"""What a path in a specification names: something on this machine, or a repository on the Hugging Face Hub."""

from pathlib import Path


def looks_local(path: str, root: Path) -> bool:
    """Whether ``path`` is meant as a file or folder: a Hub id is ``name`` or ``owner/name``, and nothing here is so.

    Args:
        path: as it is written.
        root: where relative paths start.
    """
    if path.startswith((".", "/", "~")) or "\\" in path or path.count("/") > 1 or (root / path).exists():
        return True
    return "/" in path and (root / path).parent.is_dir()
