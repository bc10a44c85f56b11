"""``python -m orchestrator`` is ``procon``."""

from orchestrator.cli import main

main()
