"""What real signals do to a driver, each at its moment."""

import signal
import threading
import time
from collections.abc import Iterator

import pytest

from orchestrator.driver.interruption import SIGNALS, Interruption


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    assert {number: signal.getsignal(number) for number in SIGNALS} == before, "its handlers were left behind"


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_interrupts_what_waits_for_nothing(number: signal.Signals) -> None:
    with pytest.raises(KeyboardInterrupt), Interruption():
        signal.raise_signal(number)


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_asks_for_the_end_and_the_second_does_not_wait(number: signal.Signals) -> None:
    asked: list[str] = []
    with Interruption() as interruption, interruption.waits(lambda: asked.append(threading.current_thread().name)):
        signal.raise_signal(number)
        deadline = time.monotonic() + 5
        while not asked and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(asked) == 1
        assert asked != [threading.main_thread().name], "Ray must not be called from within a signal handler"
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert len(asked) == 1


def test_a_search_that_is_over_is_asked_no_more() -> None:
    asked: list[int] = []
    with Interruption() as interruption:
        with interruption.waits(lambda: asked.append(1)):
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        with interruption.waits(lambda: asked.append(2)):  # another search begins without a request
            try:
                signal.raise_signal(signal.SIGINT)
            except KeyboardInterrupt:
                pytest.fail("the second search was not asked to end")
            time.sleep(0.1)
    assert asked == [1, 2]


def test_it_listens_anew_after_somebody_else_took_the_signal() -> None:
    with Interruption() as interruption:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        interruption.again()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)


def test_a_thread_that_is_not_the_main_one_changes_no_handler() -> None:
    seen: list[bool] = []

    def enter() -> None:
        with Interruption() as interruption:
            interruption.again()
            seen.append(signal.getsignal(signal.SIGINT) is signal.default_int_handler)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGINT) is signal.default_int_handler]
