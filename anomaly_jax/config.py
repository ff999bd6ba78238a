"""The typed form of configs/anomaly.py; the values stand there, what they mean and accept stands here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from anomaly_jax.augment import AugmentConfig
from anomaly_jax.autoencoder import AutoencoderConfig
from anomaly_jax.data.mvtec import Category
from anomaly_jax.faults import FaultsConfig
from anomaly_jax.losses import Window
from anomaly_jax.scoring import ImageScore, Residual
from anomaly_jax.segmenter import SegmenterConfig
from engine_jax.config import AtLeastOne, AtLeastZero, Fraction, Range
from engine_jax.errors import UserError
from engine_jax.optimizer import OptimizerConfig
from engine_jax.plan import TrainConfig

Count = Annotated[int, AtLeastZero]
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
    """

    dataset: Literal["synthetic", "mvtec"]
    dir: str
    category: Category
    validation: Annotated[float, Range(0, 1, open_low=True, open_high=True)]
    train: Annotated[int, Range(low=2)]
    test: Size
    skip_unreadable: bool
    placement: Literal["device", "stream"]

    @property
    def name(self) -> str:
        """What is trained on, in a word: "synthetic", or the category."""
        if self.dataset == "synthetic":
            return self.dataset
        return Path(self.dir).name.partition(".")[0] if self.dir else self.category


@dataclass(frozen=True)
class LossConfig:
    """How far a reconstruction is from its image, and a segmentation from the painted faults, for training.

    Attributes:
        kind: "l2", the mean squared error; or "ssim", 1 - the structural similarity.
        window: side of SSIM's window in pixels, odd.
        shape: of that window's weights.
        area: part of the image that a painted fault counts as in the segmenter's loss, however large it is; 0 counts
            every pixel the same.
    """

    kind: Literal["l2", "ssim"]
    window: Size
    shape: Window
    area: Annotated[float, Fraction]


@dataclass(frozen=True)
class ScoringConfig:
    """From a network's output to an anomaly map and an image's score.

    Attributes:
        residual: see `anomaly_jax.scoring.residual_map`; of "reconstruction" only.
        window: side of its SSIM window in pixels, odd.
        sigma: standard deviation of the Gaussian that smooths the map, in the network's input pixels; 0 is none.
        image: the image's score: the "max" of its map, the "mean", or the mean of its "top" pixels.
        top: share of the map's pixels that are its top.
    """

    residual: Residual
    window: Size
    sigma: Annotated[float, AtLeastZero]
    image: ImageScore
    top: Annotated[float, Range(0, 1, open_low=True)]


@dataclass(frozen=True)
class ThresholdConfig:
    """Thresholds of the scores of pixels and images, which are predicted faulty from there on.

    Attributes:
        grid: fixed thresholds of pixels, at which results are reported.
        pixel: target false positive rate of pixels, for the threshold from held-out good images.
        image: target false positive rate of images, likewise.
    """

    grid: tuple[float, ...]
    pixel: Annotated[float, Fraction]
    image: Annotated[float, Fraction]


@dataclass(frozen=True)
class EvaluationConfig:
    """Evaluation.

    Attributes:
        every: epochs between two evaluations.
        batch_size: images a call.
        bootstrap: resamples for the 95 % intervals of the final scores.
    """

    every: Size
    batch_size: Size
    bootstrap: Size


@dataclass(frozen=True)
class AnomalyConfig:
    """One anomaly detection run.

    Attributes:
        members: networks that are trained side by side, alike but for their random weights and augmentation; the
            anomaly map is their mean.
        method: "reconstruction": pixels are as faulty as they differ from the autoencoder's output; or
            "discriminative": a second network learns to find faults that are painted on good images.
        model: the autoencoder.
        loss: the autoencoder's.
        augment: of all training images.
        faults: painted on training images, of "discriminative" only.
        segmenter: the network that finds them.
    """

    task: Literal["anomaly"]
    preset: str
    seed: Count
    members: Size
    method: Literal["reconstruction", "discriminative"]
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

    def __post_init__(self):
        for field, window in (
            ("loss.window", self.loss.window),
            ("scoring.window", self.scoring.window),
        ):
            if window % 2 == 0 or window > self.model.input_size:
                raise UserError(
                    f"config.{field}: {window}; accepted: an odd number of pixels, at most the "
                    f"input's {self.model.input_size}"
                )
