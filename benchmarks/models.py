"""Write the table of docs/models.md: what holds on which architecture, by the very checks that the tests run."""

import sys
import warnings
from pathlib import Path

TESTS = Path(__file__).parents[1] / "tests" / "training"
sys.path[:0] = [str(TESTS), str(TESTS / "conformance")]


def main() -> None:
    import table
    from transformers.utils import logging

    from training.distributed.process import start_process

    warnings.simplefilter("ignore")
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    start_process()
    found = table.outcomes()
    table.write(found)
    print(table.rendered(found))


if __name__ == "__main__":
    main()
