import os
import signal
import threading
import time

import pytest

from classify_jax.train import train_and_evaluate
from engine_jax import checkpoint, cli
from engine_jax.interruption import Interrupted, heeded, postponed
from engine_jax.writer import read_metrics
from tests.classify_jax.settings import tiny_config
from tests.soak.small_run import same


def tell(number):
    os.kill(os.getpid(), number)
    time.sleep(0.01)  # Python looks for signals between two instructions.


@pytest.mark.parametrize(
    ("number", "status", "line"),
    [
        (signal.SIGTERM, 143, "interrupted by SIGTERM; saved\n"),
        (signal.SIGINT, 130, "interrupted by SIGINT; saved\n"),
    ],
)
def test_a_program_ends_with_a_line_and_the_signals_status(number, status, line, capsys):
    before = signal.getsignal(number)

    def program():
        try:
            tell(number)
        except Interrupted as interrupted:
            interrupted.add_note("saved")
            raise

    with pytest.raises(SystemExit) as ended:
        cli.guard(program, debug=False)
    assert ended.value.code == status
    assert capsys.readouterr().err == line
    assert signal.getsignal(number) is before


def test_what_must_not_be_cut_in_two_is_finished_first():
    done = []

    def program():
        with postponed():
            tell(signal.SIGTERM)
            done.append("first half")
            done.append("second half")
        done.append("more")

    with pytest.raises(Interrupted), heeded():
        program()
    assert done == ["first half", "second half"]


def test_outside_of_the_main_thread_nothing_is_changed():
    before = signal.getsignal(signal.SIGTERM)
    found = []

    def program():
        with heeded():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=program)
    thread.start()
    thread.join()
    assert found == [before]


def losses(workdir):
    rows = read_metrics(workdir / "metrics.jsonl", "classifier")
    return [row["train/loss"] for row in rows if "train/loss" in row]


def test_a_run_that_is_interrupted_within_an_epoch_is_saved_there_and_goes_on(tmp_path):
    config = tiny_config(
        data__rendered=200, train__epochs=3, model__name="lenet5", model__input_size=32
    )
    train_and_evaluate(config, tmp_path / "whole", pictures=False)
    metrics = tmp_path / "run" / "metrics.jsonl"

    def tell_when_some_steps_are_done():
        while not metrics.exists() or len(metrics.read_text().splitlines()) < 16:
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=tell_when_some_steps_are_done, daemon=True).start()
    with pytest.raises(Interrupted) as interrupted, heeded():
        train_and_evaluate(config, tmp_path / "run", pictures=False)
    assert not (tmp_path / "run" / "results.json").exists()
    last = tmp_path / "run" / "checkpoints" / "classifier" / "last"
    step = checkpoint.steps(last)[0]
    assert interrupted.value.__notes__ == [f"classifier is saved at step {step} of 36"]
    assert step == len(losses(tmp_path / "run"))

    train_and_evaluate(config, tmp_path / "run", pictures=False)
    assert same(tmp_path / "run", tmp_path / "whole")


class Told:
    """Told to stop while it is destroyed, where Python only prints an exception and goes on."""

    def __del__(self):
        tell(signal.SIGTERM)


def test_a_signal_whose_exception_is_lost_comes_again(capsys):
    def destroy():
        told = Told()
        del told
        time.sleep(5)

    with pytest.raises(Interrupted), heeded():
        destroy()
    assert "Traceback" not in capsys.readouterr().err
