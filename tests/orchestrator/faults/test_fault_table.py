"""The table of docs/reliability.md is what the tests that bring faults about have written."""

from fault_table import PAGE, functions, page, rows


def test_the_page_has_the_table_of_now() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "write it with: make faults"


def test_every_fault_is_brought_about_by_a_test_that_there_is() -> None:
    listed = rows()
    assert len({fault for fault, *_ in listed}) == len(listed)
    for *_, test in listed:
        file, _, name = test.partition("::")
        assert name in functions(file), test
