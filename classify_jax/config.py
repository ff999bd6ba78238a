"""The typed form of configs/classify.py; the values stand there, what they mean and accept stands here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from classify_jax.augment import AugmentConfig
from classify_jax.losses import ClassWeights
from classify_jax.networks import ModelConfig
from classify_jax.views import Crops
from convnets_jax.transfer import TransferConfig, without_frozen_counts
from engine_jax.blur import check_blur
from engine_jax.config import AtLeastOne, Location, Range
from engine_jax.errors import UserError
from engine_jax.optimizer import OptimizerConfig
from engine_jax.placement import Placement, check_placement
from engine_jax.plan import BatchSize, TrainConfig
from engine_jax.randomness import Seed
from engine_jax.run_folder import Schema
from engine_jax.statistics import Resamples

Size = Annotated[int, AtLeastOne]
Share = Annotated[float, Range(0, 1, open_low=True, open_high=True)]


@dataclass(frozen=True)
class DataConfig:
    """What to train and test on.

    Attributes:
        dataset: rendered shapes, "synthetic"; a "folder" with a folder for each class; or a set of "tfds".
        dir: the folder; for "tfds" where prepared sets are kept, "" is TFDS's own place.
        name: of the set, for "tfds".
        size: side in pixels of the squares that images are kept as: the shorter side is resized to it.
        validation: share of the images that chooses the parameters, of data without such a part.
        test: share that is tested, likewise.
        rendered: how many shapes there are, in all parts together.
        skip_unreadable: report and leave out images that can't be read, instead of stopping.
        placement: the training images stay on the "device" for the whole run; or a "stream" of batches comes from the
            host's memory; or they stay in their "files", for sets larger than memory, and are decoded anew in each
            epoch, ahead of the steps, which find the damaged ones. Validation and test images are always in memory.
        balanced: train on all classes equally often, see `engine_jax.order.balanced_order`.
    """

    dataset: Literal["synthetic", "folder", "tfds"]
    dir: Location
    name: str
    size: Size
    validation: Share
    test: Share
    rendered: Annotated[int, Range(low=10)]
    skip_unreadable: bool
    placement: Placement
    balanced: bool = False

    def __post_init__(self):
        in_files = self.dataset == "folder"
        check_placement(self.placement, self.dataset, in_files, self.skip_unreadable)

    @property
    def title(self) -> str:
        """What is trained on, in a word: "synthetic", the set, or the folder."""
        if self.dataset == "synthetic":
            return self.dataset
        return self.name if self.dataset == "tfds" else Path(self.dir).resolve().name


@dataclass(frozen=True)
class LossConfig:
    """The training loss, which is cross-entropy.

    Attributes:
        class_weights: see `classify_jax.losses.class_weights`.
    """

    class_weights: ClassWeights


@dataclass(frozen=True)
class EvaluationConfig:
    """Evaluation.

    Attributes:
        every: epochs between two evaluations.
        batch_size: images a call.
        crops: what the test part's predictions are averaged over: the "centre", or "five", with the corners.
        mirror: and over mirror images of these.
        bootstrap: resamples for the 95 % intervals of the final errors.
    """

    every: Size
    batch_size: BatchSize
    crops: Crops
    mirror: bool
    bootstrap: Resamples


@dataclass(frozen=True)
class ClassificationConfig:
    """One image classification run.

    Attributes:
        seed: of all random numbers, the rendered images and the choice of held-out images.
        model: the network.
        transfer: which of its parts are trained.
    """

    task: Literal["classify"]
    preset: str
    seed: Seed
    data: DataConfig
    augment: AugmentConfig
    model: ModelConfig
    transfer: TransferConfig
    loss: LossConfig
    optimizer: OptimizerConfig
    train: TrainConfig
    evaluation: EvaluationConfig

    def __post_init__(self):
        data = self.data
        if self.model.input_size > data.size:
            raise UserError(
                f"config.model.input_size: {self.model.input_size} is more than the {data.size} px that images are "
                f"kept at; accepted: at most config.data.size"
            )
        self.transfer.check(self.train.epochs)
        check_blur(self.augment.blur, self.model.input_size, "config.augment.blur")
        if data.validation + data.test >= 1:
            raise UserError(
                f"config.data.test: {data.test} and {data.validation} for validation leave nothing to train on; "
                "accepted: less than 1 in all"
            )
        needed = {"folder": ("dir", data.dir), "tfds": ("name", data.name)}
        field, value = needed.get(data.dataset, ("", "none"))
        if not value:
            raise UserError(f"config.data.{field}: missing; dataset {data.dataset!r} needs it")


def without_counted_freezes(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration of format 0 in format 1."""
    return {**config, "transfer": without_frozen_counts(config["transfer"])}


SCHEMA = Schema(
    "classify", ClassificationConfig, (without_counted_freezes,), lambda _: ("train.epochs",)
)
