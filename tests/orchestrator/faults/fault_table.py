"""Writes the table of docs/reliability.md, as the last part of ``make faults`` or by itself as a script."""

import ast
from pathlib import Path

from rows import Row, measured

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs/reliability.md"
BEGIN, END = "<!-- faults: begin -->", "<!-- faults: end -->"
HERE = "tests/orchestrator/faults/test_one_by_one.py"

ELSEWHERE = [
    (
        "SIGKILL of a slot's worker",
        "a note: the trial went on from its last checkpoint",
        "the trial, from its checkpoint, in the next free slot; a job that kills its slot three times is failed",
        "tests/orchestrator/driver/test_faults.py::test_kills_at_random_lose_nothing",
    ),
    (
        "SIGKILL of one rank of a group",
        "the same",
        "the same: Ray Train restarts the whole group",
        "tests/orchestrator/slots/test_worker.py::test_a_lost_rank_restarts_the_group_and_fails_no_trial",
    ),
    (
        "SIGKILL of driver, slot workers and actors at random, ten seeds",
        "as above",
        "no trial is lost, none ends twice, the front is that of the undisturbed sweep",
        "tests/orchestrator/driver/test_faults.py::test_kills_at_random_lose_nothing",
    ),
    (
        "twelve kinds of faults in one sweep, in any order and at any moment, ten seeds",
        "each as in its row",
        "no trial is lost, none ends twice, the front is that of the undisturbed sweep",
        "tests/orchestrator/driver/test_twelve_faults.py::test_twelve_faults_of_one_sweep_lose_nothing",
    ),
    (
        "a machine that hangs, on storage whose locks reach no other machine, is resumed elsewhere and comes back",
        "“process … on … has taken …, for want of a sign of life of this driver”",
        "what the other one writes; the own rest beside the journal, in `journal.PID.lost`",
        "tests/orchestrator/driver/test_shared_without_locks.py::"
        "test_a_second_machine_is_refused_and_takes_over_from_one_that_is_silent",
    ),
    (
        "a node that announces its end",
        "a note: the node, the seconds that it has left, the trial that is saved",
        "the trial, from the step under way, in the next free slot; it is not counted as a failure",
        "tests/orchestrator/slots/test_announced_ends.py::test_a_trial_is_saved_within_the_notice_and_goes_on_elsewhere",
    ),
    (
        "SIGKILL of the broker",
        "nothing: Ray starts another, which reads the file of the one before",
        "every trial in its slot, every report; none ends twice",
        "tests/orchestrator/driver/test_sweep.py::test_a_killed_broker_costs_no_trial_its_slot",
    ),
    (
        "a broker that cannot be had again",
        "a sentence, and the command that goes on",
        "every trial that ended, checkpoints, and a report of them",
        "tests/orchestrator/driver/test_endings.py::test_a_broker_that_cannot_be_had_ends_the_sweep_with_a_sentence",
    ),
    (
        "a rank that hangs, or stands still, while the others wait in a collective",
        "a note when it happens: no sign of life (`resources.slot_timeout`), or not got on "
        "(`resources.stall_timeout`); the trial went on from its last checkpoint",
        "the trial, from its checkpoint, in a group of new processes",
        "tests/orchestrator/driver/test_hangs.py::test_a_rank_that_stands_still_is_replaced_and_its_trial_goes_on",
    ),
    (
        "a full disk",
        "“… is full: the trials wait until there is room again”",
        "everything; who writes waits",
        "tests/orchestrator/driver/test_disk_full.py::test_a_sweep_on_a_full_disk_waits_and_loses_nothing",
    ),
    (
        "a device without memory for a micro-batch",
        "a note: in which step, with how many samples, and with how many it goes on; the report names the trials",
        "the trial, from its checkpoint, at the same global batch; later trials of the model begin so. It fails where "
        "a single sample does not fit",
        "tests/orchestrator/driver/test_out_of_memory.py::test_memory_that_does_not_suffice_for_a_batch_halves_it",
    ),
    (
        "a machine without memory, on which Ray's monitor ends a slot's worker, and the broker with it",
        "a note: Ray ended its worker, whose machine had no memory left; the trial went on from its last checkpoint",
        "the trial, in the next free slot, once; the second time it is failed, with what may help",
        "tests/orchestrator/driver/test_out_of_memory.py::test_a_worker_that_ray_ends_for_memory_costs_its_trial_a_move",
    ),
    (
        "a loss or weights that are NaN",
        "the trial is FAILED, naming step and samples; the search is told so",
        "the checkpoint before; other trials",
        "tests/training/loop/test_checkpoint.py::test_weights_that_are_not_finite_replace_no_checkpoint",
    ),
    (
        "a damaged checkpoint (bits, sizes, files, manifest)",
        "“the checkpoint … is damaged (…): this training goes on from the one before”",
        "the checkpoint before, the damaged one beside it as `damaged-step-…`; where there is none, it starts over",
        "tests/training/loop/test_checkpoint.py::test_a_damaged_checkpoint_gives_way_to_the_one_before",
    ),
    (
        "a lost or damaged checkpoint that a fork was to begin from",
        "“… begins at its first step: the checkpoint of … cannot be used (…)”, once",
        "everything; the trial does the shared steps itself",
        "tests/training/loop/test_forks.py::test_where_the_fork_point_cannot_be_used_it_is_said_and_begins_at_the_first_step",
    ),
    (
        "a checkpoint of which two ranks read different parts",
        "the same",
        "the same, on all ranks",
        "tests/training/loop/test_checkpoint.py::test_two_ranks_agree_on_the_checkpoint_before",
    ),
    (
        "damaged reference values",
        "“references … are built again”",
        "everything; they are computed anew",
        "tests/training/constraints/test_references.py::test_a_damaged_file_is_built_again_with_a_message",
    ),
    (
        "a damaged direction",
        "the model is given up with “… holds no readable direction: remove the folder, and it is extracted again”",
        "other models; the model's trials after `procon resume`",
        "tests/training/direction/test_direction.py::test_a_damaged_direction_is_refused",
    ),
    (
        "damaged answers of a trial",
        "“… is damaged (…)”; `procon reproduce` gives them anew",
        "the front, whose intervals there go by the journal alone",
        "tests/orchestrator/record/test_answers.py::test_a_damaged_file_is_named_and_the_front_goes_by_the_journal",
    ),
    (
        "a damaged line within the journal",
        "“line … is damaged (…): remove it to read the rest”, exit code 2",
        "everything else",
        "tests/orchestrator/hostile/test_fuzzed_journals.py::test_fields_of_any_value",
    ),
    (
        "a lost state of the search",
        "nothing: there is none on disk",
        "the search, rebuilt from the journal",
        "tests/orchestrator/search/test_searcher.py::test_a_rebuilt_search_was_told_what_the_uninterrupted_one_was",
    ),
    (
        "a bucket whose store is out",
        "once that it cannot be reached, and once that it answers again",
        "everything: the journal waits on the driver's disk",
        "tests/orchestrator/storage/test_courier.py::test_an_outage_holds_nothing_up_and_is_told_once",
    ),
    (
        "the same while checkpoints are due",
        "a note for each that is left out; that of the last step waits",
        "the trial, which would lose more by another failure",
        "tests/training/loop/test_bucket_shelf.py::test_an_outage_leaves_checkpoints_out_but_for_the_last",
    ),
    (
        "a write to a bucket that is carried out, and its answer lost",
        "nothing",
        "everything, once",
        "tests/orchestrator/storage/test_parts.py::test_a_write_that_was_given_up_and_yet_arrived_is_ones_own",
    ),
    (
        "a driver that another machine's has overtaken comes back",
        "“another driver writes the journal of …: this one has to end”",
        "what the other one writes; the own rest on the machine's disk",
        "tests/orchestrator/storage/test_courier.py::test_a_driver_that_was_overtaken_writes_nothing_more",
    ),
    (
        "SIGKILL of the driver of a sweep in a bucket, and the loss of its disk",
        "as of any driver, from any machine",
        "every trial that ended; those under way go on from their checkpoints on another machine",
        "tests/orchestrator/driver/test_sweep_in_bucket.py::"
        "test_killed_on_one_machine_and_resumed_on_another_it_comes_to_the_same_front",
    ),
    (
        "a clock that is set, months forth or back",
        "nothing",
        "durations, budgets and the order of events",
        "tests/orchestrator/record/test_journal.py::test_a_clock_that_is_set_changes_no_duration",
    ),
]
"""Faults that tests of other rooms bring about: what is seen, what is kept, and by which test."""


def rows() -> list[tuple[str, ...]]:
    """The table, measured faults first."""
    found = [(row.fault, row.sees, row.kept, _seconds(row), f"{HERE}::{row.test}") for row in measured()]
    return [*found, *((fault, sees, kept, "", test) for fault, sees, kept, test in ELSEWHERE)]


def _seconds(row: Row) -> str:
    return f"{row.lost:.0f}"


def table() -> str:
    """As Markdown."""
    lines = ["| fault | what the user sees | what is kept | seconds | test |", "|---|---|---|---|---|"]
    for fault, sees, kept, seconds, test in rows():
        file, _, name = test.partition("::")
        lines.append(f"| {fault} | {sees} | {kept} | {seconds} | [`{name}`](../{file}) |")
    return "\n".join(lines)


def page() -> str:
    """The page with the table of now."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    return f"{before}{BEGIN}\n{table()}\n{END}{rest.partition(END)[2]}"


def functions(file: str) -> set[str]:
    """Names of the tests in ``file``."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
