"""The typed form of configs/pose.py; the values stand there, what they mean and accept stands here."""

from dataclasses import dataclass
from typing import Annotated, Literal

from convnets_jax import zoo
from convnets_jax.transfer import TransferConfig
from engine_jax.config import AtLeastOne, AtLeastZero, Fraction, Positive, Range
from engine_jax.errors import UserError
from engine_jax.optimizer import OptimizerConfig
from engine_jax.plan import TrainConfig

Count = Annotated[int, AtLeastZero]
Size = Annotated[int, AtLeastOne]


@dataclass(frozen=True)
class DataConfig:
    """What to train and test on.

    Attributes:
        dataset: "synthetic" figures; "lsp"; or "lsp_and_extended", LSP with LSP Extended added to the training part.
        dir: LSP's folder or zip as published; "" reads it from the TFDS manual directory.
        extended_dir: likewise for LSP Extended.
        labels: LSP's person-centric ("PC") or observer-centric ("OC") joints. LSP Extended is person-centric.
        split: see `deeppose_jax.data.splits`.
        validation: images held out of the training half by the "official" split, or rendered for validation.
        train: synthetic figures to train on.
        test: synthetic figures to test on.
        canvas: pixels a side of the square canvas that every image is kept on.
        extended_box: LSP's images are cropped to their person, LSP Extended's aren't: "joints" takes stage 1's box
            around the labelled joints there, "image" the whole image.
        extended_box_scale: size of the "joints" box in units of the joints' bounding box.
        skip_unreadable: report and leave out images that can't be read, instead of stopping.
        placement: the canvases stay on the "device" for the whole run, or a "stream" of batches comes from the host.
    """

    dataset: Literal["synthetic", "lsp", "lsp_and_extended"]
    dir: str
    extended_dir: str
    labels: Literal["PC", "OC"]
    split: Literal["official", "report"]
    validation: Size
    train: Size
    test: Size
    canvas: Annotated[int, Range(low=16)]
    extended_box: Literal["image", "joints"]
    extended_box_scale: Annotated[float, Positive]
    skip_unreadable: bool
    placement: Literal["device", "stream"]


@dataclass(frozen=True)
class AugmentConfig:
    """Random changes to training images; 0 switches each off. Joints move with the image.

    Attributes:
        rotation: degrees to either side.
        scale: log2 of the zoom to either side; 0.5 is from 0.71 to 1.41.
        translation: parts of the box to either side, horizontally and vertically.
        flip: mirror half of the images, and swap left and right joints.
        brightness: added to all channels, of the value range, to either side.
        contrast: log2 of the factor to either side.
        noise: largest standard deviation of Gaussian pixel noise, of the value range.
        blur: largest standard deviation of a Gaussian blur, in input pixels.
    """

    rotation: Annotated[float, Range(0, 180)]
    scale: Annotated[float, AtLeastZero]
    translation: Annotated[float, AtLeastZero]
    flip: bool
    brightness: Annotated[float, Fraction]
    contrast: Annotated[float, AtLeastZero]
    noise: Annotated[float, Fraction]
    blur: Annotated[float, AtLeastZero]


@dataclass(frozen=True)
class AlexNetLayers:
    """AlexNet, where `ModelConfig.backbone` is "alexnet".

    Attributes:
        widths: channels of the five convolutions.
        first_kernel: side of the first convolution's filters.
        first_stride: its stride.
        norm: "lrn" (the papers), "batch" or "none".
    """

    widths: tuple[Size, Size, Size, Size, Size]
    first_kernel: Size
    first_stride: Size
    norm: Literal["lrn", "batch", "none"]


@dataclass(frozen=True)
class CompactLayers:
    """The residual network at stride 8 of convnets_jax/compact.py, where `ModelConfig.backbone` is "compact".

    Attributes:
        widths: channels of the stages at strides 4, 8, 16 and so on.
        blocks: residual blocks of each stage.
        out_channels: channels of the features.
        out_blocks: residual blocks on the sum of the stages.
    """

    widths: tuple[Size, ...]
    blocks: tuple[Count, ...]
    out_channels: Size
    out_blocks: Count


@dataclass(frozen=True)
class ModelConfig:
    """A network from crops to joints: stage 1's or a refiner's.

    Attributes:
        input_size: pixels a side of the network's square input.
        backbone: "alexnet" (the papers) or "compact", whose layers stand below; or any name of `convnets_jax.zoo` but
            its "alexnet", as that is torchvision's form: "resnet18", "vgg11_bn", "mobilenet_v1_050".
        alexnet: the layers of "alexnet".
        compact: the layers of "compact".
        weights: torchvision's weights for a backbone of the zoo, a .safetensors or .pth file, from which training
            begins; "" leaves them random.
        top_down: channels of a top-down path's features at stride 8, on a backbone of the zoo that gives maps at
            several strides, the ResNets; 0 takes the backbone's own features, at stride 32.
        pool: "average" gives heads of fully connected layers the mean over the features' cells, "none" all of them.
        head: "regression", fully connected layers to coordinates, trained with L2 (the papers); "rle", the same with a
            predicted scale, trained by residual log-likelihood estimation; "integral", a heat map per joint and its
            mean, with a predicted scale, trained by a Laplace likelihood; "integral_rle", the same trained as "rle".
        hidden: widths of the hidden layers of "regression" and "rle".
        dropout: the part of each hidden layer's outputs that is dropped in training.
        dtype: of activations; "auto" is bfloat16 on GPU and TPU, float32 on CPU. Parameters are float32.
    """

    input_size: Annotated[int, Range(low=16)]
    backbone: str
    alexnet: AlexNetLayers
    compact: CompactLayers
    weights: str
    top_down: Count
    pool: Literal["none", "average"]
    head: Literal["regression", "rle", "integral", "integral_rle"]
    hidden: tuple[Size, ...]
    dropout: Annotated[float, Range(0, 1, open_high=True)]
    dtype: Literal["auto", "float32", "bfloat16"]

    @property
    def integral(self) -> bool:
        """Whether the head takes the mean of heat maps."""
        return self.head in ("integral", "integral_rle")

    @property
    def in_zoo(self) -> bool:
        """Whether the backbone is one of `convnets_jax.zoo`."""
        return self.backbone not in ("alexnet", "compact")

    def check(self, path: str) -> None:
        """Finds values that contradict each other.

        Raises:
            UserError: which calls this configuration `path`.
        """
        if self.backbone != "compact" and self.backbone not in zoo.MODELS:
            raise UserError(
                f"{path}.backbone: {self.backbone!r}; accepted: compact, {', '.join(zoo.MODELS)}"
            )
        if self.integral and self.pool != "none":
            raise UserError(
                f"{path}.pool: {self.pool!r} leaves head {self.head!r} no map; accepted: 'none'"
            )
        if not self.in_zoo and (self.weights or self.top_down):
            field, accepted = ("weights", "''") if self.weights else ("top_down", "0")
            raise UserError(
                f"{path}.{field}: {getattr(self, field)!r} with backbone {self.backbone!r}; accepted: {accepted}, "
                "or a backbone of convnets_jax.zoo such as 'resnet18'"
            )


@dataclass(frozen=True)
class RefinerConfig:
    """Stages 2, 3, ...: networks that look again at a crop around each joint.

    Attributes:
        form: "per_joint", one network for each joint (the paper); or "shared", one trunk, with a head for each joint.
        sigma: side of a joint's box, in units of diam of the previous stage's pose.
        displacements: what training's boxes are displaced by: draws from the "normal" distributions that are fitted to
            the previous stage's errors (the paper), or the "observed" errors themselves.
        measured_on: the part whose errors these are: "train" (the paper), or "validation", whose images the previous
            stage has not learned by heart either.
        start: "random" weights, or those of the "previous" stage: its backbone, and its head where that has the same
            shape.
        combine: "replace" the previous stage's joint by the refiner's (the paper); or "weighted", the mean of both with
            weights 1 / scale^2 from the scales that all heads but "regression" predict.
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
    start: Literal["random", "previous"]
    combine: Literal["replace", "weighted"]
    joints_per_image: Count
    joint_devices: Size
    model: ModelConfig
    optimizer: OptimizerConfig
    train: TrainConfig


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
    """

    every: Size
    batch_size: Size
    train_images: Size
    thresholds: tuple[Annotated[float, Positive], ...]
    flip_test: bool
    bootstrap: Size


@dataclass(frozen=True)
class CascadeConfig:
    """How a cascade goes from images to joints.

    Attributes:
        input_size: pixels a side of stage 1's crops.
        refiner_size: pixels a side of the refiners' crops.
        sigma: side of a joint's box, in units of diam of the previous stage's pose.
        combine: as `RefinerConfig.combine`.
        flip_test: average each stage's estimates for the crops and their mirror images.
    """

    input_size: int = 220
    refiner_size: int = 220
    sigma: float = 2.0
    combine: Literal["replace", "weighted"] = "replace"
    flip_test: bool = False


@dataclass(frozen=True)
class PoseConfig:
    """One pose run.

    Attributes:
        stages: S; 1 is the regressor alone.
        model: stage 1's network.
        optimizer: trains stage 1.
        train: how long stage 1 is trained.
        transfer: which of its parts are trained: "backbone", "head" and what is in them.
        refiner: the stages after it.
    """

    task: Literal["pose"]
    preset: str
    seed: Count
    stages: Size
    data: DataConfig
    augment: AugmentConfig
    model: ModelConfig
    optimizer: OptimizerConfig
    train: TrainConfig
    transfer: TransferConfig
    refiner: RefinerConfig
    evaluation: EvaluationConfig

    @property
    def cascade(self) -> CascadeConfig:
        """What a cascade of this run's stages takes."""
        return CascadeConfig(
            input_size=self.model.input_size,
            refiner_size=self.refiner.model.input_size,
            sigma=self.refiner.sigma,
            combine=self.refiner.combine,
            flip_test=self.evaluation.flip_test,
        )

    def __post_init__(self):
        self.model.check("config.model")
        self.transfer.check(self.train.epochs)
        if self.stages == 1:
            return
        refiner = self.refiner
        refiner.model.check("config.refiner.model")
        if refiner.model.weights and refiner.start == "previous":
            raise UserError(
                f"config.refiner.model.weights: {refiner.model.weights!r}, but config.refiner.start is 'previous'; "
                "accepted: '', or config.refiner.start='random'"
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
