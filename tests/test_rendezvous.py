"""Several processes that find each other, or say in one line why they don't."""

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from engine_jax.errors import UserError
from launch_jax import hosts, rendezvous
from launch_jax.train import main
from tests.deeppose_jax.runs import ROOT


@pytest.fixture
def address():
    """Of a port that nobody uses."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    return f"localhost:{port}"


def outcomes(address, *processes, limit=20.0):
    """What each of several processes, given as (processes, process), comes to: None, or its error's text."""

    def outcome(numbers):
        try:
            rendezvous.meet(address, *numbers, limit)
        except UserError as error:
            return str(error)

    with ThreadPoolExecutor(len(processes)) as pool:
        return list(pool.map(outcome, processes))


def test_all_meet_in_whatever_order_they_come(address):
    assert outcomes(address, (3, 2), (3, 1), (3, 0)) == [None] * 3
    # The port is free again for JAX's own service.
    with socket.create_server(("", int(address.partition(":")[2]))):
        pass


def test_who_says_something_else_is_passed_over(address):
    host, _, port = address.partition(":")

    def strangers():
        for said in (b"GET / HTTP/1.1\r\n", b"{}\n", b'{"process": [], "processes": 2}\n', b""):
            connected = None
            while connected is None:
                try:
                    connected = socket.create_connection((host, int(port)))
                except OSError:
                    time.sleep(0.01)
            with connected:
                connected.sendall(said)

    thread = threading.Thread(target=strangers)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(outcomes, address, (2, 0))
        thread.start()
        thread.join()
        assert outcomes(address, (2, 1)) == [None]
        assert first.result() == [None]


def test_a_process_that_does_not_come_is_named_to_all(address):
    start = time.monotonic()
    found = outcomes(address, (4, 0), (4, 2), limit=1.0)
    assert found == ["--distributed: no process 1, 3 of 4 came within 1 s"] * 2
    assert time.monotonic() - start < 10


def test_another_number_of_processes_is_told_to_all(address):
    expected = (
        "--distributed: process 2 was started with --processes=3, process 0 with --processes=2; "
        "accepted: the same number everywhere"
    )
    assert outcomes(address, (2, 0), (3, 2)) == [expected] * 2


def test_a_coordinator_that_is_not_there_is_one_line(address):
    (found,) = outcomes(address, (2, 1), limit=0.5)
    assert found.startswith(f"--coordinator: process 0 isn't reached at {address} within 0.5 s (")
    assert "refused" in found


def test_another_program_at_the_port_is_one_line(address):
    port = int(address.partition(":")[2])
    with socket.create_server(("", port)) as other:

        def answer():
            while True:
                try:
                    connection = other.accept()[0]
                except OSError:
                    return  # The test has ended.
                with connection:
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n")

        threading.Thread(target=answer, daemon=True).start()
        (found,) = outcomes(address, (2, 1), limit=0.5)
        assert found.endswith("within 0.5 s (what answers there isn't process 0, or ended)")
        (found,) = outcomes(address, (2, 0), limit=0.5)
        assert found.startswith(
            f"--coordinator: port {port} of this host can't be used (Address al"
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("host", 2, 0), "--coordinator: 'host'; accepted: HOST:PORT"),
        (("host:", 2, 0), "--coordinator: 'host:'; accepted"),
        (("host:http", 2, 0), "--coordinator: 'host:http'; accepted"),
        (("host:99999", 2, 0), "--coordinator: 'host:99999'; accepted"),
        ((":1234", 2, 0), "--coordinator: ':1234'; accepted"),
        (("host:1234", 0, 0), "--processes: 0; accepted: at least 1"),
        (("host:1234", 2, 2), "--process: 2; accepted: 0 to 1"),
        (("host:1234", 2, -1), "--process: -1; accepted: 0 to 1"),
        (("host", 2, None), "--coordinator: 'host'; accepted"),
    ],
)
def test_numbers_and_addresses_that_cannot_be_are_one_line(arguments, message):
    """Before JAX, which would end some of them by a crash."""
    with pytest.raises(UserError) as caught:
        hosts.join(*arguments)
    assert str(caught.value).startswith(message)


def test_the_program_ends_with_status_1(address, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(rendezvous, "LIMIT", 0.5)
    where = ["--distributed", f"--coordinator={address}", "--processes=2", "--process=1"]
    with pytest.raises(SystemExit) as ended:
        main("train", [f"--config={ROOT}/configs/pose.py", f"--workdir={tmp_path / 'run'}", *where])
    assert ended.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: --coordinator: process 0 isn't reached")
    assert not (tmp_path / "run").exists()
