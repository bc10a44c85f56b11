"""What a sweep does whose Ray is gone; sockets stand where Ray listens, and the processes that end are real ones."""

import subprocess
import sys

from orchestrator.driver.ray_watch import EXIT_CODE

BEGIN = """
import socket, sys, time
from orchestrator.driver import ray_watch
ray_watch.KNOCK_SECONDS = 0.05
server = socket.create_server(("127.0.0.1", 0))
there = "127.0.0.1:%d" % server.getsockname()[1]
watch = ray_watch.RayWatch([there], 0.2)
def tell(why):
    time.sleep(0.3)
    print("told:", why.replace(there, "ADDRESS"))
with watch.watched(tell):
"""


def ends(body: str) -> tuple[int, str]:
    """Exit code and output of a process that does ``body`` while its Ray, of which a socket is left, is watched."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    code = BEGIN + lines + "print('went on')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout + done.stderr


def test_a_main_thread_that_hangs_does_not_keep_the_end_from_being_told() -> None:
    assert ends("server.close()\ntime.sleep(50)") == (EXIT_CODE, "told: nothing answers at ADDRESS\n")


def test_an_error_that_comes_of_it_waits_for_the_end_to_be_told() -> None:
    assert ends("server.close()\nraise ConnectionError") == (EXIT_CODE, "told: nothing answers at ADDRESS\n")


def test_a_signal_does_not_cut_the_end_short() -> None:
    body = "import _thread, threading\nserver.close()\nthreading.Timer(0.4, _thread.interrupt_main).start()\n"
    assert ends(body + "raise ConnectionError") == (EXIT_CODE, "told: nothing answers at ADDRESS\n")


def test_what_is_of_no_use_though_it_answers_is_lost_too() -> None:
    assert ends("watch.lose('the broker died')\ntime.sleep(50)") == (EXIT_CODE, "told: the broker died\n")


def test_a_telling_that_fails_ends_the_process_all_the_same() -> None:
    code, said = ends("tell = None\nwatch.lose(3)\ntime.sleep(50)")
    assert (code, "the end of the sweep could not be told" in said) == (EXIT_CODE, True)


def test_silence_that_is_shorter_than_the_patience_is_nothing() -> None:
    body = "address = server.getsockname()\nserver.close()\ntime.sleep(0.1)\nserver = socket.create_server(address)\n"
    assert ends(body + "time.sleep(0.5)") == (0, "went on\n")


def test_an_error_of_a_ray_that_answers_is_an_error() -> None:
    code, said = ends("raise ValueError('ours')")
    assert (code, "ValueError: ours" in said, "told" in said) == (1, True, False)


def test_what_does_not_answer_at_first_is_not_watched() -> None:
    body = "with ray_watch.RayWatch(['127.0.0.1:1', 'words of a client'], 0.0).watched(tell):\n    time.sleep(0.5)"
    assert ends(body) == (0, "went on\n")
