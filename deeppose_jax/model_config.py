"""What a stage's network is built from."""

from dataclasses import dataclass
from typing import Annotated, Literal

from convnets_jax import zoo
from engine_jax.config import AtLeastOne, AtLeastZero, Range
from engine_jax.errors import UserError

Count = Annotated[int, AtLeastZero]
Size = Annotated[int, AtLeastOne]


@dataclass(frozen=True)
class AlexNetLayers:
    """The layers of AlexNet, which a `ModelConfig` with the backbone "alexnet" has.

    Attributes:
        widths: channels of the five convolutions.
        first_kernel: side of the first convolution's filters.
        first_stride: its stride.
        norm: "lrn" (the papers), "batch" or "none".
    """

    widths: tuple[Size, Size, Size, Size, Size] = (96, 256, 384, 384, 256)
    first_kernel: Size = 11
    first_stride: Size = 4
    norm: Literal["lrn", "batch", "none"] = "lrn"


@dataclass(frozen=True)
class CompactLayers:
    """The layers of convnets_jax/compact.py, which a `ModelConfig` with the backbone "compact" has.

    Attributes:
        widths: channels of the stages at strides 4, 8, 16 and so on.
        blocks: residual blocks of each stage.
        out_channels: channels of the features.
        out_blocks: residual blocks on the sum of the stages.
    """

    widths: tuple[Size, ...] = (32, 64, 128, 256)
    blocks: tuple[Count, ...] = (1, 2, 2, 1)
    out_channels: Size = 96
    out_blocks: Count = 1


@dataclass(frozen=True)
class ModelConfig:
    """A network from crops to joints: stage 1's or a refiner's. The defaults are DeepPose's.

    Attributes:
        input_size: pixels a side of the network's square input.
        backbone: "alexnet" (the papers) or "compact", whose layers stand below; "torchvision_alexnet", the form that
            torchvision's weights are of; or any other name of `convnets_jax.zoo`: "resnet18", "vgg11_bn",
            "mobilenet_v1_050".
        alexnet: the layers of "alexnet".
        compact: the layers of "compact".
        weights: torchvision's weights for a backbone of the zoo, a .safetensors or .pth file, from which training
            begins; "" leaves them random.
        top_down: channels of a top-down path's features at stride 8, on a backbone of the zoo that gives maps at
            several strides, the ResNets, MobileNetV2 and V3; 0 takes the backbone's own features, at stride 32.
        pool: "average" gives heads of fully connected layers the mean over the features' cells, "none" all of them.
        head: "regression", fully connected layers to coordinates, trained with L2 (the papers); "rle", the same with a
            predicted scale, trained by residual log-likelihood estimation; "integral", a heat map per joint and its
            mean, with a predicted scale, trained by a Laplace likelihood; "integral_rle", the same trained as "rle".
        hidden: widths of the hidden layers of "regression" and "rle".
        dropout: the part of each hidden layer's outputs that is dropped in training.
        dtype: of activations; "auto" is bfloat16 on GPU and TPU, float32 on CPU. Parameters are float32.
    """

    input_size: Annotated[int, Range(low=16)] = 220
    backbone: str = "alexnet"
    alexnet: AlexNetLayers = AlexNetLayers()
    compact: CompactLayers = CompactLayers()
    weights: str = ""
    top_down: Count = 0
    pool: Literal["none", "average"] = "none"
    head: Literal["regression", "rle", "integral", "integral_rle"] = "regression"
    hidden: tuple[Size, ...] = (4096, 4096)
    dropout: Annotated[float, Range(0, 1, open_high=True)] = 0.6
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"

    @classmethod
    def deeppose(cls) -> "ModelConfig":
        """DeepPose's network (section 3.1): AlexNet with local response normalisation, 220 px, joints by regression."""
        return cls()

    @classmethod
    def small(cls, input_size: int = 128) -> "ModelConfig":
        """A compact residual network with an integral head, for images of 64 to 128 px and for CPUs."""
        layers = CompactLayers(blocks=(1, 1, 1, 1), out_channels=64)
        return cls(input_size=input_size, backbone="compact", compact=layers, head="integral")

    @classmethod
    def resnet18(cls, input_size: int = 128) -> "ModelConfig":
        """ResNet-18 with a top-down path to stride 8 and an integral head."""
        return cls(
            input_size=input_size,
            backbone="resnet18",
            top_down=64,
            head="integral",
            hidden=(),
            dropout=0.0,
        )

    @property
    def integral(self) -> bool:
        """Whether the head takes the mean of heat maps."""
        return self.head in ("integral", "integral_rle")

    @property
    def in_zoo(self) -> bool:
        """Whether the backbone is one of `convnets_jax.zoo`."""
        return self.backbone not in ("alexnet", "compact")

    @property
    def zoo_name(self) -> str:
        """The backbone's name in `convnets_jax.zoo`, whose "alexnet" is torchvision's."""
        return self.backbone.removeprefix("torchvision_")

    def check(self, path: str) -> None:
        """Raises a UserError, which calls this configuration `path`, if values contradict each other."""
        names = ("compact", "torchvision_alexnet", *zoo.MODELS)
        if self.backbone not in names:
            raise UserError(f"{path}.backbone: {self.backbone!r}; accepted: {', '.join(names)}")
        if self.integral and self.pool != "none":
            raise UserError(
                f"{path}.pool: {self.pool!r} leaves head {self.head!r} no map; accepted: 'none'"
            )
        if not self.in_zoo and (self.weights or self.top_down):
            field, accepted = ("weights", "''") if self.weights else ("top_down", "0")
            raise UserError(
                f"{path}.{field}: {getattr(self, field)!r} with backbone {self.backbone!r}; accepted: {accepted}, "
                "or a backbone of convnets_jax.zoo such as 'resnet18' or 'torchvision_alexnet'"
            )
