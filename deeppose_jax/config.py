"""The typed form of configs/pose.py; the values stand there, what they mean and accept stands here."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from convnets_jax.transfer import TransferConfig, without_frozen_counts
from deeppose_jax.crops import Border
from deeppose_jax.data_config import DataConfig
from deeppose_jax.model_config import ModelConfig
from engine_jax.blur import check_blur
from engine_jax.config import AtLeastOne, AtLeastZero, Fraction, Octaves, Positive, Range
from engine_jax.errors import UserError
from engine_jax.optimizer import OptimizerConfig
from engine_jax.plan import BatchSize, TrainConfig
from engine_jax.randomness import Seed
from engine_jax.run_folder import Schema
from engine_jax.statistics import Resamples

Count = Annotated[int, AtLeastZero]
Size = Annotated[int, AtLeastOne]

# Scores have the names of `metrics.main_scores`.
ChosenBy = Literal["loss", "pcp_strict", "pdj_0.1", "pdj_0.2", "pckh_0.5", "oks_ap"]


@dataclass(frozen=True)
class AugmentConfig:
    """Random changes to training images; 0 switches each off. Joints move with the image.

    Attributes:
        rotation: degrees to either side.
        scale: log2 of the zoom to either side; 0.5 is from 0.71 to 1.41; of stage 1 only.
        translation: parts of the box to either side, horizontally and vertically; of stage 1 only.
        flip: mirror half of the images, and swap left and right joints.
        brightness: added to all channels, of the value range, to either side.
        contrast: log2 of the factor to either side.
        noise: largest standard deviation of Gaussian pixel noise, of the value range.
        blur: largest standard deviation of a Gaussian blur, in input pixels.
    """

    rotation: Annotated[float, Range(0, 180)]
    scale: Annotated[float, Octaves]
    translation: Annotated[float, Range(0, 10)]
    flip: bool
    brightness: Annotated[float, Fraction]
    contrast: Annotated[float, Octaves]
    noise: Annotated[float, Fraction]
    blur: Annotated[float, AtLeastZero]


@dataclass(frozen=True)
class RefinerConfig:
    """Refiners, the stages from the second on: each estimates a joint again from a crop around the last estimate.

    Attributes:
        form: "per_joint", one network for each joint (the paper); or "shared", one trunk, with a head for each joint.
        sigma: side of a joint's box, in units of diam of the previous stage's pose.
        displacements: what training's boxes are displaced by: draws from the "normal" distributions that are fitted to
            the previous stage's errors (the paper), or the "observed" errors themselves.
        measured_on: the part whose errors these are: "train" (the paper), or "validation", which the previous stage was
            not trained on.
        initial_weights: "random", or those of the "previous" stage: its backbone, and its head where that has the same
            shape.
        combine: "replace" the previous stage's joint by the refiner's (the paper); or "weighted", the mean of both with
            weights 1 / scale^2 from the scales that all heads but "regression" predict. That takes the errors of two
            stages for independent; they correlate at 0.97 and more, and on the demo's people it scores less.
        joints_per_image: crops of each image that a training step sees, drawn at random; 0 is all. Only "shared"
            refiners can leave some out.
        joint_devices: "per_joint" networks are divided among this many devices, a divisor of the number of joints;
            batches are divided among the rest.
        model: the network; "per_joint" networks have an output for their joint only.
        optimizer: trains each stage.
        train: how long each stage is trained.
    """

    form: Literal["per_joint", "shared"]
    sigma: Annotated[float, Positive]
    displacements: Literal["normal", "observed"]
    measured_on: Literal["train", "validation"]
    initial_weights: Literal["random", "previous"]
    combine: Literal["replace", "weighted"]
    joints_per_image: Count
    joint_devices: Size
    model: ModelConfig
    optimizer: OptimizerConfig
    train: TrainConfig


@dataclass(frozen=True)
class StartConfig:
    """What a run goes on from, stage by stage, instead of from random weights: a warm start.

    Attributes:
        source: a run's folder, a file of `deeppose_jax.save`, or "pretrained", the model that comes with the package;
            "" is none. Its stages have the same networks; a stage that it hasn't starts as if there was no source. A
            model of other joints gives the backbones, and the heads are new.
        keep: stages that are taken from the source as they are; those after them are trained.
    """

    source: str = ""
    keep: Count = 0


@dataclass(frozen=True)
class EvaluationConfig:
    """Evaluation.

    Attributes:
        every: epochs between two evaluations.
        batch_size: images a call.
        train_images: training images that are scored beside the validation and test parts.
        thresholds: of PDJ, in torso lengths.
        flip_test: predictions, wherever they are made, are means over an image and its mirror image.
        bootstrap: resamples for the 95 % intervals of the final scores.
        chosen_by: what each stage's best parameters have on the validation part, where `TrainConfig.patience` looks
            too: the lowest "loss", or the highest of a score.
    """

    every: Size
    batch_size: BatchSize
    train_images: Size
    thresholds: tuple[Annotated[float, Positive], ...]
    flip_test: bool
    bootstrap: Resamples
    chosen_by: ChosenBy = "loss"


@dataclass(frozen=True)
class StageConfig:
    """One stage of a run.

    Attributes:
        number: counted from 1.
        form: "regressor", stage 1; or a refiner's form, see `RefinerConfig`.
        model: its network.
        from_previous: whether it starts from the weights of the stage before it.
        optimizer: trains it.
        train: how long it is trained.
        transfer: which of its parts are trained.
        field: where the configuration holds its optimizer and train.
    """

    number: int
    form: Literal["regressor", "shared", "per_joint"]
    model: ModelConfig
    from_previous: bool
    optimizer: OptimizerConfig
    train: TrainConfig
    transfer: TransferConfig
    field: str

    @property
    def name(self) -> str:
        """In checkpoints/ and metrics.jsonl."""
        return f"stage_{self.number}"


@dataclass(frozen=True)
class CascadeConfig:
    """How a cascade goes from images to joints.

    Attributes:
        input_size: pixels a side of stage 1's crops.
        refiner_size: pixels a side of the refiners' crops.
        sigma: side of a joint's box, in units of diam of the previous stage's pose.
        combine: as `RefinerConfig.combine`.
        flip_test: average each stage's estimates for the crops and their mirror images.
        border: as `PoseConfig.border`.
    """

    input_size: int = 220
    refiner_size: int = 220
    sigma: float = 2.0
    combine: Literal["replace", "weighted"] = "replace"
    flip_test: bool = False
    border: Border = "mean"


@dataclass(frozen=True)
class PoseConfig:
    """One pose run.

    Attributes:
        seed: of all random numbers, the rendered images and the choice of held-out images.
        stages: S; 1 is the regressor alone.
        model: stage 1's network.
        optimizer: trains stage 1.
        train: how long stage 1 is trained.
        transfer: which of its parts are trained: "backbone", "head" and what is in them.
        refiner: the stages after it.
        border: what crops show outside of a canvas: its "mean" colour, which also fills canvases beyond the image; or
            "black", as in runs that were stored without this field.
        start: a model that the run goes on from.
    """

    task: Literal["pose"]
    preset: str
    seed: Seed
    stages: Annotated[int, Range(1, 100)]
    data: DataConfig
    augment: AugmentConfig
    model: ModelConfig
    optimizer: OptimizerConfig
    train: TrainConfig
    transfer: TransferConfig
    refiner: RefinerConfig
    evaluation: EvaluationConfig
    border: Border = "black"
    start: StartConfig = StartConfig()

    def stage(self, number: int) -> StageConfig:
        """The stage of a number, counted from 1."""
        if number == 1:
            trained = (self.optimizer, self.train, self.transfer, "config")
            return StageConfig(number, "regressor", self.model, False, *trained)
        refiner = self.refiner
        trained = (refiner.optimizer, refiner.train, TransferConfig(), "config.refiner")
        from_previous = refiner.initial_weights == "previous"
        return StageConfig(number, refiner.form, refiner.model, from_previous, *trained)

    @property
    def cascade(self) -> CascadeConfig:
        """What a cascade of this run's stages takes."""
        return CascadeConfig(
            input_size=self.model.input_size,
            refiner_size=self.refiner.model.input_size,
            sigma=self.refiner.sigma,
            combine=self.refiner.combine,
            flip_test=self.evaluation.flip_test,
            border=self.border,
        )

    def __post_init__(self):
        self.model.check("config.model")
        self.transfer.check(self.train.epochs)
        check_blur(self.augment.blur, self.model.input_size, "config.augment.blur")
        self._check_start()
        if self.stages == 1:
            return
        refiner = self.refiner
        refiner.model.check("config.refiner.model")
        check_blur(self.augment.blur, refiner.model.input_size, "config.augment.blur")
        if refiner.model.weights and refiner.initial_weights == "previous":
            raise UserError(
                f"config.refiner.model.weights: {refiner.model.weights!r}, but config.refiner.initial_weights is "
                "'previous'; accepted: '', or config.refiner.initial_weights='random'"
            )
        if refiner.form == "per_joint" and refiner.joints_per_image:
            raise UserError(
                f"config.refiner.joints_per_image: {refiner.joints_per_image}; 'per_joint' refiners take every "
                "joint's crop; accepted: 0, or config.refiner.form='shared'"
            )
        if refiner.form == "shared" and refiner.joint_devices > 1:
            raise UserError(
                f"config.refiner.joint_devices: {refiner.joint_devices}; a 'shared' refiner is one network; "
                "accepted: 1, or config.refiner.form='per_joint'"
            )
        if refiner.combine == "weighted" and "regression" in (self.model.head, refiner.model.head):
            raise UserError(
                "config.refiner.combine: 'weighted' takes the scales that heads predict, 'regression' predicts none; "
                "accepted: 'replace', or another config.model.head and config.refiner.model.head"
            )

    def _check_start(self) -> None:
        start = self.start
        if start.source and self.model.weights:
            raise UserError(
                f"config.model.weights: {self.model.weights!r}, but stage 1 starts from config.start.source; "
                "accepted: '', or config.start.source=''"
            )
        most = self.stages if start.source else 0
        if start.keep > most:
            stages = f"with config.stages={self.stages}" if most else "without config.start.source"
            raise UserError(f"config.start.keep: {start.keep} {stages}; accepted: at most {most}")


def with_named_weights(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration of format 0, in which a refiner had a "start", in format 1."""
    refiner = dict(config["refiner"])
    refiner["initial_weights"] = refiner.pop("start")
    return {**config, "refiner": refiner, "transfer": without_frozen_counts(config["transfer"])}


def _growing(settings: PoseConfig) -> tuple[str, ...]:
    """The last stage's epochs; of two refiners neither, for the second one was trained on the first one's errors."""
    return {1: ("train.epochs",), 2: ("refiner.train.epochs",)}.get(settings.stages, ())


SCHEMA = Schema("pose", PoseConfig, (with_named_weights,), _growing)
