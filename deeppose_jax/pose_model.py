"""A trained cascade, ready for images: read from a run's folder or from a file, and written to a file."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from flax import nnx
from jaxtyping import Float
from PIL import Image

from deeppose_jax.boxes import Box, whole_image
from deeppose_jax.cascade import Cascade
from deeppose_jax.config import SCHEMA, PoseConfig
from deeppose_jax.data.canvas import box_on_canvas, place
from deeppose_jax.model_config import ModelConfig
from deeppose_jax.predictor import map_to_image
from deeppose_jax.scale_factors import calibrated, checked_factors, read_factors
from deeppose_jax.skeleton import LSP, Skeleton
from deeppose_jax.skeleton_file import from_json, read_skeleton, to_json
from deeppose_jax.stages import as_stage, stage_network
from engine_jax import model_file
from engine_jax.batches import fitting_batch_size, map_batches
from engine_jax.config import without_locations
from engine_jax.errors import UserError, listed
from engine_jax.files import user_path
from engine_jax.loop import best_variables
from engine_jax.prediction import AnyImage, rgb_arrays
from engine_jax.run_folder import RunFolder
from engine_jax.state import graph_defs

_BATCH = 32  # images a call, at most
_LARGEST_BOX = 10  # times the image's longer side

# The model that comes with the package; README.md beside it is its model card.
PRETRAINED = Path(__file__).parent / "pretrained" / "pose.safetensors"


@dataclass(frozen=True)
class StagePose:
    """One stage's pose of a person.

    Attributes:
        joints: (x, y) in the image's pixels; (0, 0) is the centre of its top left pixel.
        scales: the expected absolute error of either coordinate, in the image's pixels; None from a head that predicts
            none.
    """

    joints: Float[np.ndarray, "k 2"]
    scales: Float[np.ndarray, " k"] | None


@dataclass(frozen=True)
class Prediction:
    """The pose of a person.

    Attributes:
        box: (x0, y0, x1, y1) of the person in the image's pixels, as given.
        stages: the pose after each stage of the cascade.
    """

    box: Box
    stages: tuple[StagePose, ...]

    @property
    def joints(self) -> Float[np.ndarray, "k 2"]:
        """The last stage's."""
        return self.stages[-1].joints

    @property
    def scales(self) -> Float[np.ndarray, " k"] | None:
        """The last stage's."""
        return self.stages[-1].scales


class PoseModel:
    """A trained run, ready for images.

    Attributes:
        settings: the run's configuration.
        skeleton: what the joints are.
        cascade: all stages, with the best variables, which are taken from it once.
        scale_factors: what each stage's scales are multiplied by, [k] numbers, or None for a stage without them; see
            deeppose_jax/scale_factors.py.
    """

    def __init__(
        self,
        settings: PoseConfig,
        skeleton: Skeleton,
        cascade: Cascade,
        scale_factors: Sequence[np.ndarray | None] | None = None,
    ):
        self.scale_factors = list(scale_factors or [None] * len(cascade.stages))
        self.settings = settings
        self.skeleton = skeleton
        self.cascade = cascade
        self._predict = cascade.predictor()

    def predict(
        self, images: Sequence[AnyImage] | AnyImage, boxes: Sequence[Box] | None = None
    ) -> list[Prediction]:
        """The pose of one person in each image.

        Args:
            images: uint8 RGB arrays [h, w, 3], PIL images or paths, of any sizes.
            boxes: (x0, y0, x1, y1) of the person in each image, in its pixels; by default the whole image, as in
                training on LSP.

        Raises:
            UserError: an array of another shape or type, a file that can't be read, or a box that is empty, outside of
                its image, or more than ten times as large.
        """
        arrays = rgb_arrays(images)
        if boxes is None:
            boxes = [whole_image(array.shape[1], array.shape[0]) for array in arrays]
        if len(boxes) != len(arrays):
            raise UserError(f"boxes: {len(boxes)} for {len(arrays)} images; accepted: one for each")
        if not arrays:
            return []
        inputs, to_image = self._canvases(arrays, boxes)
        batch_size = fitting_batch_size(len(arrays), _BATCH)
        found = map_batches(lambda batch: self._predict(*batch), inputs, batch_size)
        stages = [calibrated(*each) for each in zip(found, self.scale_factors, strict=True)]
        by_stage = [
            (map_to_image(stage.joints, to_image), _in_image(stage.scales, to_image))
            for stage in stages
        ]
        return [
            Prediction(
                box,
                tuple(
                    StagePose(joints[i], None if scales is None else scales[i])
                    for joints, scales in by_stage
                ),
            )
            for i, box in enumerate(boxes)
        ]

    def _canvases(
        self, images: Sequence[np.ndarray], boxes: Sequence[Box]
    ) -> tuple[tuple[np.ndarray, np.ndarray], Float[np.ndarray, "n 2 3"]]:
        """The images' canvases [n, c, c, 3] with the boxes on them [n, 4], and the maps back to the images."""
        canvases, regions, maps = [], [], []
        for i, (image, box) in enumerate(zip(images, boxes, strict=True)):
            check_box(box, image, f"boxes[{i}]")
            pixels, to_image = place(Image.fromarray(image), box, self.settings.data.canvas)
            canvases.append(pixels)
            regions.append(box_on_canvas(box, to_image))
            maps.append(to_image)
        return (np.stack(canvases), np.array(regions, np.float32)), np.stack(maps)


def check_joints(model: PoseModel, name: str, skeleton: Skeleton) -> None:
    """Raises a UserError if a model's joints are others than those of the data that it is to be scored on."""
    found = model.skeleton
    if found.joints != skeleton.joints:
        raise UserError(
            f"{name}: a model of {found.num_joints} other joints ({listed(found.joints, 3)}); accepted: one of the "
            f"{skeleton.num_joints} joints of the data ({listed(skeleton.joints, 3)})"
        )


def check_box(box: Box, image: np.ndarray, name: str) -> None:
    """Raises a UserError if a box is no four numbers, is empty, shows nothing of its image, or is far larger."""
    height, width = image.shape[:2]
    try:
        x0, y0, x1, y1 = map(float, box)
    except (TypeError, ValueError, OverflowError):
        raise UserError(f"{name}: {box!r}; accepted: (x0, y0, x1, y1) in pixels") from None
    most = _LARGEST_BOX * max(width, height)
    if not (x1 > x0 and y1 > y0):
        raise UserError(f"{name}: {box}; accepted: (x0, y0, x1, y1) with x0 < x1 and y0 < y1")
    if not (x1 - x0 <= most and y1 - y0 <= most):
        raise UserError(
            f"{name}: {box}; accepted: at most {most} pixels, {_LARGEST_BOX} times the longer side of the image"
        )
    if not (x1 > -0.5 and y1 > -0.5 and x0 < width - 0.5 and y0 < height - 0.5):
        raise UserError(f"{name}: {box} is outside of its image, {width}x{height} pixels")


def _in_image(
    scales: Float[np.ndarray, "n k"] | None, to_image: Float[np.ndarray, "n 2 3"]
) -> Float[np.ndarray, "n k"] | None:
    return None if scales is None else scales * to_image[:, 0, 0, None]


def load(source: str | Path | None = None, stages: int | None = None) -> PoseModel:
    """A trained model.

    Args:
        source: a run's folder, whose best variables are taken, or a file that `save` wrote; by default the model that
            comes with the package, see deeppose_jax/pretrained/README.md.
        stages: take the first ones only, from a run that may still train the others; by default all.

    Raises:
        UserError: when the folder holds no run, one of another task, one without a checkpoint yet, or another
            architecture's checkpoint; when the file is damaged or holds no pose model; or when there are fewer stages.
    """
    path = PRETRAINED if source is None else user_path(source)
    return _from_file(path, stages) if path.is_file() else _from_run(path, stages)


def save(model: PoseModel, file: str | Path, half: bool = False) -> None:
    """Writes a model to one safetensors file, from which `load` reads it on any machine.

    Args:
        model: of `load`.
        file: is replaced if it is there.
        half: write numbers of 16 bits, in half the space; predictions then differ by some hundredths of a pixel.

    Raises:
        UserError: when the file can't be written, or a weight is too large for 16 bits.
    """
    settings = without_locations(model.settings)
    named = {  # The name of a file of weights says what training began from; its folder says nothing elsewhere.
        "model": _without_folder(settings.model),
        "refiner": dataclasses.replace(
            settings.refiner, model=_without_folder(settings.refiner.model)
        ),
        "start": dataclasses.replace(settings.start, source=Path(settings.start.source).name),
    }
    stored = SCHEMA.to_stored(dataclasses.replace(settings, **named))
    stored["skeleton"] = to_json(model.skeleton)
    stored["scale_factors"] = [None if f is None else f.tolist() for f in model.scale_factors]
    model_file.write(user_path(file), stored, model.cascade, half)


def _without_folder(config: ModelConfig) -> ModelConfig:
    return dataclasses.replace(config, weights=Path(config.weights).name)


def _from_run(workdir: Path, count: int | None) -> PoseModel:
    folder = RunFolder(workdir)
    settings = _shortened(folder.read_settings(SCHEMA), count, workdir)
    skeleton = read_skeleton(folder.path)
    stages, factors = [], []
    for number in range(1, settings.stages + 1):
        stage = settings.stage(number)
        build = partial(stage_network, stage, skeleton.num_joints)
        trained = stage.transfer.trained_at_end
        best = best_variables(folder, stage.name, build, trained=trained)
        network = nnx.merge(graph_defs(build).evaluate, best.params, best.model_state)
        stages.append(as_stage(network, stage))
        factors.append(read_factors(folder.checkpoints / stage.name, skeleton.num_joints))
    return PoseModel(settings, skeleton, Cascade(stages, settings.cascade, skeleton), factors)


def _from_file(path: Path, count: int | None) -> PoseModel:
    stored = model_file.read_config(path)
    # Files of earlier versions hold neither: they are of LSP's joints.
    joints = stored.pop("skeleton", None)
    factors = stored.pop("scale_factors", None)
    settings = SCHEMA.from_stored(stored, str(path), str(path))
    skeleton = LSP if joints is None else from_json(joints, str(path))
    cascade = model_file.read_model(path, partial(_random_cascade, settings, skeleton))
    if factors is not None:
        if not isinstance(factors, list) or len(factors) != settings.stages:
            raise UserError(
                f"{path}: scale_factors are damaged; accepted: those of {settings.stages} stages"
            )
        factors = [checked_factors(each, skeleton.num_joints, str(path)) for each in factors]
    settings = _shortened(settings, count, path)
    first = Cascade(list(cascade.stages)[: settings.stages], settings.cascade, skeleton)
    return PoseModel(settings, skeleton, first, factors and factors[: settings.stages])


def _shortened(settings: PoseConfig, count: int | None, source: Path) -> PoseConfig:
    """The settings of the first stages; `count` None is all of them."""
    if count is None:
        return settings
    if not 1 <= count <= settings.stages:
        raise UserError(
            f"stages: {count} of {source}, which has {settings.stages}; accepted: 1 to {settings.stages}"
        )
    start = dataclasses.replace(settings.start, keep=min(settings.start.keep, count))
    return dataclasses.replace(settings, stages=count, start=start)


def _random_cascade(settings: PoseConfig, skeleton: Skeleton, *, rngs: nnx.Rngs) -> Cascade:
    stages = [settings.stage(number) for number in range(1, settings.stages + 1)]
    networks = [
        as_stage(stage_network(stage, skeleton.num_joints, rngs=rngs), stage) for stage in stages
    ]
    return Cascade(networks, settings.cascade, skeleton)
