"""The typed form of configs/anomaly.py; the values stand there, what they mean and accept stands here."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from anomaly_jax.augment import AugmentConfig
from anomaly_jax.autoencoder import AutoencoderConfig
from anomaly_jax.data.mvtec import Category
from anomaly_jax.detector import DetectorConfig
from anomaly_jax.embedding import EmbeddingConfig
from anomaly_jax.faults import FaultsConfig
from anomaly_jax.framing import Fit, Framing
from anomaly_jax.losses import LossConfig
from anomaly_jax.padim import PadimConfig
from anomaly_jax.patchcore import PatchcoreConfig
from anomaly_jax.scoring import ScoringConfig, reach
from anomaly_jax.segmenter import SegmenterConfig
from engine_jax.config import AtLeastOne, AtLeastZero, Fraction, Location, Range
from engine_jax.errors import UserError
from engine_jax.optimizer import OptimizerConfig
from engine_jax.plan import BatchSize, TrainConfig
from engine_jax.randomness import Seed
from engine_jax.run_folder import Schema
from engine_jax.statistics import Resamples

Size = Annotated[int, AtLeastOne]


@dataclass(frozen=True)
class DataConfig:
    """What to train and test on.

    Attributes:
        dataset: "synthetic" nuts, or "mvtec": a category of MVTec AD, or own images in its layout.
        dir: the category's folder or archive; "" reads `category` from the TFDS manual directory.
        category: a published category's name, where `dir` is "".
        validation: share of the good training images that is held out, to stop early and to choose thresholds by.
        train: good nuts, before validation images are held out.
        test: nuts of each kind to test on: good ones, and of each defect.
        skip_unreadable: report and leave out images that can't be read, instead of stopping.
        placement: the images stay on the "device" for the whole run, or a "stream" of batches comes from the host.
        fit: how images that aren't square become squares of `model.input_size`: "squeeze" scales height and width each
            by itself; "letterbox" keeps their ratio and draws the image's edges out over the rest; "tiles" cuts images
            into squares that overlap, and blends their maps: for small faults in large images.
        tile: side of a tile in the image's pixels; 0 is `model.input_size`.
        overlap: share of a tile that the next one repeats, at least.
        white: the value of white in grey images of more than 8 bits, such as 4095 for a camera of 12; 0 takes it from
            the file, see `engine_jax.images.grey_values`.
        good: a folder of good images that are held out instead of some of the training images; "" is none.
    """

    dataset: Literal["synthetic", "mvtec"]
    dir: Location
    category: Category
    validation: Annotated[float, Range(0, 1, open_low=True, open_high=True)]
    train: Annotated[int, Range(low=2)]
    test: Size
    skip_unreadable: bool
    placement: Literal["device", "stream"]
    good: Location = ""
    fit: Fit = "squeeze"
    tile: Annotated[int, AtLeastZero] = 0
    overlap: Annotated[float, Range(0, 0.9)] = 0.25
    white: Annotated[int, AtLeastZero] = 0

    def framing(self, size: int) -> Framing:
        """How images become squares of `size` x `size` pixels."""
        return Framing(size, self.fit, self.tile, self.overlap)

    @property
    def name(self) -> str:
        """What is trained on, in a word: "synthetic", or the category."""
        if self.dataset == "synthetic":
            return self.dataset
        return Path(self.dir).name.partition(".")[0] if self.dir else self.category


@dataclass(frozen=True)
class ThresholdConfig:
    """Thresholds of the scores of pixels and images, which are predicted faulty from there on.

    Attributes:
        calibration: the good images that thresholds come from: "held_out", the validation part, on which nothing is
            trained; or "cross_fit", all of them: each of the `members` leaves out a fold of them, which it scores.
        grid: fixed thresholds of pixels, at which results are reported.
        pixel: the share of a good image's pixels that may reach the pixels' threshold.
        image: the share of new good images that may be taken for faulty, and of those in which more than `pixel` of the
            pixels may; see `anomaly_jax.thresholds.from_good`.
    """

    grid: tuple[float, ...]
    pixel: Annotated[float, Fraction]
    image: Annotated[float, Fraction]
    calibration: Literal["held_out", "cross_fit"] = "held_out"


@dataclass(frozen=True)
class EvaluationConfig:
    """Evaluation.

    Attributes:
        every: epochs between two evaluations.
        batch_size: images a call.
        bootstrap: resamples for the 95 % intervals of the final scores.
    """

    every: Size
    batch_size: BatchSize
    bootstrap: Resamples


@dataclass(frozen=True)
class AnomalyConfig:
    """One anomaly detection run.

    Attributes:
        seed: of all random numbers, the rendered images and the choice of held-out images.
        members: networks that are trained side by side, alike but for their random weights and augmentation; the
            anomaly map is their mean. Of "padim" and "patchcore", the folds of cross-fitting.
        method: "reconstruction": pixels are as faulty as they differ from the autoencoder's output; "discriminative": a
            second network learns to find faults that are painted on good images; or "padim" and "patchcore", which
            train nothing and measure how far a pretrained network's features are from those of good images.
        model: the autoencoder; of "padim" and "patchcore" only its `input_size` counts.
        loss: the autoencoder's.
        augment: of all training images.
        faults: painted on training images, of "discriminative" only.
        segmenter: the network that finds them.
        embedding: the pretrained network of "padim" and "patchcore".
        padim: what is kept of its features.
        patchcore: likewise.
        start: a run whose detector is taken as it is, instead of training one: with other scoring, thresholds or good
            images; "" is none.
    """

    task: Literal["anomaly"]
    preset: str
    seed: Seed
    members: Size
    method: Literal["reconstruction", "discriminative", "padim", "patchcore"]
    data: DataConfig
    augment: AugmentConfig
    model: AutoencoderConfig
    loss: LossConfig
    faults: FaultsConfig
    segmenter: SegmenterConfig
    optimizer: OptimizerConfig
    train: TrainConfig
    scoring: ScoringConfig
    thresholds: ThresholdConfig
    evaluation: EvaluationConfig
    embedding: EmbeddingConfig = field(default_factory=EmbeddingConfig)
    padim: PadimConfig = field(default_factory=PadimConfig)
    patchcore: PatchcoreConfig = field(default_factory=PatchcoreConfig)
    start: str = ""

    @property
    def by_features(self) -> bool:
        """Whether nothing is trained."""
        return self.method in ("padim", "patchcore")

    @property
    def averaged(self) -> bool:
        """Whether thresholds come from the maps of single members, and new images get the mean of these."""
        return self.thresholds.calibration == "cross_fit" and not self.by_features

    @property
    def own_scores(self) -> bool:
        """Whether images have scores that aren't their maps'."""
        return self.method == "patchcore"

    @property
    def detector(self) -> DetectorConfig:
        """One member's networks."""
        discriminative = self.method == "discriminative"
        return DetectorConfig(self.model, self.segmenter if discriminative else None)

    def __post_init__(self):
        for name, window in (
            ("loss.window", self.loss.window),
            ("scoring.window", self.scoring.window),
        ):
            if window % 2 == 0 or window > self.model.input_size:
                raise UserError(
                    f"config.{name}: {window}; accepted: an odd number of pixels, at most the "
                    f"input's {self.model.input_size}"
                )
        segmenter = self.detector.segmenter
        if segmenter is not None and self.model.input_size % segmenter.coarsest_stride:
            raise UserError(
                f"config.model.input_size: {self.model.input_size}; accepted: a multiple of "
                f"{segmenter.coarsest_stride}, the stride of the last of config.segmenter.widths"
            )
        if reach(self.scoring.sigma) > self.model.input_size:
            raise UserError(
                f"config.scoring.sigma: {self.scoring.sigma}; accepted: a Gaussian that reaches over at most the "
                f"input's {self.model.input_size} pixels, not {reach(self.scoring.sigma)}"
            )
        if self.data.dataset == "synthetic" and self.data.fit != "squeeze":
            raise UserError(
                f"config.data.fit: {self.data.fit} with config.data.dataset='synthetic', whose images are squares; "
                "accepted: squeeze"
            )
        if self.by_features:
            self.embedding.check("config.embedding")
        if self.thresholds.calibration == "cross_fit" and self.data.good:
            raise UserError(
                f"config.data.good: {self.data.good} with config.thresholds.calibration='cross_fit', which takes "
                "thresholds from the training images; accepted: '', or calibration='held_out'"
            )
        if self.thresholds.calibration == "cross_fit":
            for name, number, least in (
                ("members", self.members, 2),
                ("train.batch_size", self.train.batch_size, 3),
            ):
                if number < least:
                    raise UserError(
                        f"config.{name}: {number} with config.thresholds.calibration='cross_fit'; "
                        f"accepted: at least {least}"
                    )


def without_percentiles(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration of format 0, in which thresholds could be given as percentiles, in format 1."""
    thresholds = dict(config["thresholds"])
    if thresholds.pop("rule") == "percentile":
        for level in ("pixel", "image"):
            thresholds[level] = 1 - thresholds[level] / 100
    return {**config, "thresholds": thresholds}


SCHEMA = Schema("anomaly", AnomalyConfig, (without_percentiles,), lambda _: ("train.epochs",))
