"""How often thresholds from good images take new good images for faulty, beside what they promise.

    python -m benchmarks.promised_rates [--workdir FOLDER] [--fresh 600] [--members 3] [--epochs N] [--json FILE]

Trains the anomaly demo, on rendered nuts, with held-out images and by cross-fitting, and scores fresh good nuts, which
nothing else has seen. Printed, all in percent of the fresh images:

- held-out images that are drawn from the fresh ones, a thousand times: mean and 95th percentile of the rate on the
  others, by the rank that thresholds take and by the rule "at most a share of the held-out images themselves";
- the same where the draw chooses the checkpoint too, by its loss: whether that harms;
- each run's own threshold: its promise, and the rate that came out, in cross-fitting of single members too.

46 minutes on two CPU cores beside another training. Finished runs that the folder holds already are not trained again.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from anomaly_jax import synthetic, training
from anomaly_jax.config import SCHEMA
from anomaly_jax.detector import Detector
from anomaly_jax.predict import load
from anomaly_jax.predictor import Predictor
from anomaly_jax.thresholds import image_threshold, lowest_threshold
from anomaly_jax.train import train_and_evaluate
from configs.anomaly import get_config
from engine_jax import cli
from engine_jax.errors import UserError
from engine_jax.loop import best_variables
from engine_jax.run_folder import RunFolder, read_json, write_json
from engine_jax.sharding import device_mesh
from engine_jax.state import graph_defs

_RATE, _DRAWS = 0.05, 1000
_SEED = 2**20  # of the fresh nuts; the demo's are of seed 0


def main(args: argparse.Namespace) -> None:
    fresh = synthetic.nuts(_SEED, args.fresh, get_config("demo").model.input_size, None, 0)[0]
    losses, scores, best = _held_out_run(args, fresh)
    rows: dict[str, dict[str, object]] = {}
    print(f"thresholds for {_RATE:.0%} of good images; {args.fresh} fresh ones, {_DRAWS} draws")
    for count in (21, 40):
        for name, rule in (("rank", image_threshold), ("share", _by_share)):
            rates = _drawn_rates(lambda draw: len(scores) - 1, count, scores, rule)
            rows[f"{count} drawn, {name}"] = _summary(rates)
        rates = _drawn_rates(
            lambda draw: int(losses[:, draw].mean(1).argmin()), count, scores, image_threshold
        )
        chosen = f"{len(losses)} checkpoints, one chosen by the draw's loss"
        rows[f"{count} drawn, rank, {chosen}"] = _summary(rates)
    rows["held out"] = _of_run(Path(args.workdir) / "held_out", scores[best])
    if args.members:
        workdir = Path(args.workdir) / "cross_fit"
        config = _config(args)
        config.members, config.thresholds.calibration = args.members, "cross_fit"
        train_and_evaluate(config.to_dict(), workdir, pictures=False)
        found = [float(p.pred_score) for p in load(workdir).predict(list(fresh))]
        rows[f"cross-fitting, {args.members} members"] = _of_run(workdir, np.array(found))
        rows["its members, each alone"] = _of_members(workdir, fresh)
    for name, row in rows.items():
        print(f"{name}: " + ", ".join(f"{key} {value}" for key, value in row.items()))
    if args.json:
        about = {"rate": 100 * _RATE, "fresh": args.fresh, "draws": _DRAWS, "rows": rows}
        write_json(args.json, about)


def _config(args: argparse.Namespace):
    config = get_config("demo")
    if args.epochs:
        config.train.epochs = args.epochs
    return config


def _held_out_run(
    args: argparse.Namespace, fresh: np.ndarray
) -> tuple[np.ndarray, np.ndarray, int]:
    """Losses and scores [epochs, fresh images], of the run's networks after each epoch; and the best one's index."""
    workdir, recorded = Path(args.workdir) / "held_out", Path(args.workdir) / "fresh.npz"
    losses, scores = [], []

    class Recorded(Predictor):
        """Scores the fresh images whenever a run computes its validation loss."""

        def losses(self, variables, images, key, folds=None):
            losses.append(super().losses(variables, fresh, key))
            scores.append(self.detect(variables, fresh).scores)
            return super().losses(variables, images, key, folds)

    config = _config(args)
    config.evaluation.every = 1
    training.Predictor = Recorded
    try:
        results = train_and_evaluate(config.to_dict(), workdir, pictures=False)
    finally:
        training.Predictor = Predictor
    if len(losses) == results["epochs"]:
        np.savez(recorded, losses=losses, scores=scores)
    elif losses or not recorded.exists():
        raise UserError(f"{workdir}: a run that was interrupted; give another --workdir")
    # Else of a run that was finished before, and so has not been trained again.
    stored = np.load(recorded)
    return stored["losses"], stored["scores"], results["best_epoch"] - 1


def _by_share(good: np.ndarray, rate: float) -> tuple[float, None]:
    return lowest_threshold(good, rate), None


def _drawn_rates(
    choose: Callable[[np.ndarray], int],
    count: int,
    scores: np.ndarray,
    rule: Callable[[np.ndarray, float], tuple[float, object]],
) -> np.ndarray:
    """The rates on the images that aren't drawn, at thresholds from those that are; `choose` names the checkpoint."""
    random = np.random.default_rng(0)
    rates = []
    for _ in range(_DRAWS):
        order = random.permutation(scores.shape[1])
        drawn, others = order[:count], order[count:]
        of_checkpoint = scores[choose(drawn)]
        threshold, _ = rule(of_checkpoint[drawn], _RATE)
        rates.append((of_checkpoint[others] >= threshold).mean())
    return np.array(rates)


def _percent(rate: float) -> float:
    return round(100 * float(rate), 1)


def _summary(rates: np.ndarray) -> dict[str, object]:
    return {"mean": _percent(rates.mean()), "95th percentile": _percent(np.percentile(rates, 95))}


def _of_run(workdir: Path, scores: np.ndarray) -> dict[str, object]:
    """What a run's threshold promises, its band, and what came out."""
    stored = read_json(workdir / "results.json")["thresholds"]
    promise, threshold = stored["promise"], stored["good_only"]["image"]
    return {
        "images": promise["images"],
        "promised": _percent(promise["rate"]),
        "band": [_percent(end) for end in promise["band"]],
        "came out": _percent((scores >= np.float32(threshold)).mean()),
    }


def _of_members(workdir: Path, fresh: np.ndarray) -> dict[str, object]:
    """The rates of single members, which are what the threshold's scores come from."""
    folder = RunFolder(workdir)
    settings = folder.read_settings(SCHEMA)
    build = partial(Detector, settings.detector)
    variables = best_variables(folder, training.NAME, build, stack=settings.members)
    predictor = Predictor(graph_defs(build).evaluate, settings, device_mesh())
    threshold = read_json(workdir / "results.json")["thresholds"]["good_only"]["image"]
    rates = []
    for member in range(settings.members):
        alone = predictor.detect(variables, fresh, np.full(len(fresh), member, np.int32))
        rates.append((alone.scores >= np.float32(threshold)).mean())
    return {"rates": [_percent(rate) for rate in rates], "mean": _percent(np.mean(rates))}


def parser() -> argparse.ArgumentParser:
    command = argparse.ArgumentParser(
        prog="python -m benchmarks.promised_rates", description=(__doc__ or "").splitlines()[0]
    )
    command.add_argument("--workdir", default="runs/promised-rates", help="where the two runs go")
    command.add_argument("--fresh", type=int, default=600)
    command.add_argument("--members", type=int, default=3, help="0 leaves cross-fitting out")
    command.add_argument("--epochs", type=int, help="default: the demo's")
    command.add_argument("--json", type=Path, help="a file to write the rates to")
    return command


if __name__ == "__main__":
    cli.run(main, parser())
