"""``python -m orchestrator`` is ``procon``."""

from orchestrator.cli.app import main

main()
