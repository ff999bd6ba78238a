"""The typed form of configs/pose.py; the values stand there, what they mean and accept stands here."""

from dataclasses import dataclass
from typing import Annotated, Literal

from engine_jax.config import AtLeastOne, AtLeastZero, Fraction, Positive, Range
from engine_jax.optimizer import OptimizerConfig

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
class ModelConfig:
    """The regressor.

    Attributes:
        input_size: pixels a side of the network's square input.
        widths: channels of the five convolutions.
        first_kernel: side of the first convolution's filters.
        first_stride: its stride.
        norm: "lrn" (the papers), "batch" or "none".
        hidden: widths of the head's hidden layers.
        dropout: the part of each hidden layer's outputs that is dropped in training.
        dtype: of activations; "auto" is bfloat16 on GPU and TPU, float32 on CPU. Parameters are float32.
    """

    input_size: Annotated[int, Range(low=16)]
    widths: tuple[Size, Size, Size, Size, Size]
    first_kernel: Size
    first_stride: Size
    norm: Literal["lrn", "batch", "none"]
    hidden: tuple[Size, ...]
    dropout: Annotated[float, Range(0, 1, open_high=True)]
    dtype: Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True)
class TrainConfig:
    """The training loop.

    Attributes:
        epochs: passes over the training part, at most.
        batch_size: images a step, over all devices.
        steps_per_call: optimiser steps that one call of the jitted function takes, at most; one on CPU, where loops
            are slow.
        patience: evaluations without a lower validation loss before training stops; 0 trains all epochs.
    """

    epochs: Size
    batch_size: Size
    steps_per_call: Size
    patience: Count


@dataclass(frozen=True)
class EvaluationConfig:
    """Evaluation.

    Attributes:
        every: epochs between two evaluations.
        batch_size: images a call.
        train_images: training images that are scored beside the validation and test parts.
        thresholds: of PDJ, in torso lengths.
        bootstrap: resamples for the 95 % intervals of the final scores.
    """

    every: Size
    batch_size: Size
    train_images: Size
    thresholds: tuple[Annotated[float, Positive], ...]
    bootstrap: Size


@dataclass(frozen=True)
class PoseConfig:
    """One pose run."""

    task: Literal["pose"]
    preset: str
    seed: Count
    data: DataConfig
    augment: AugmentConfig
    model: ModelConfig
    optimizer: OptimizerConfig
    train: TrainConfig
    evaluation: EvaluationConfig
