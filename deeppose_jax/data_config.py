"""The typed form of configs/pose.py's `data`: what a run trains and tests on."""

from dataclasses import dataclass
from typing import Annotated, Literal

from engine_jax.config import AtLeastOne, Location, Range
from engine_jax.errors import UserError
from engine_jax.placement import Placement, check_placement

Size = Annotated[int, AtLeastOne]

GIVEN: Literal["given"] = "given"  # the `DataConfig.dataset` of data that a program made


@dataclass(frozen=True)
class CocoConfig:
    """Files of people's key points in COCO's format.

    Attributes:
        train: the JSON file to train on.
        validation: the one to choose parameters by; "" holds `DataConfig.validation` images of `train` out.
        test: the one to test on.
        images: the folder of the images, or the folder above their folders; "" is each file's own folder.
        category: whose key points; "" is "person", or the only category that has some.
        pairs: left and right joints by their names, such as (("left_eye", "right_eye"),); () finds them by the names.
    """

    train: Location = ""
    validation: Location = ""
    test: Location = ""
    images: Location = ""
    category: str = ""
    pairs: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class DataConfig:
    """What to train and test on.

    Attributes:
        dataset: "synthetic" figures; "lsp"; "lsp_and_extended", LSP with LSP Extended added to the training part; or
            "coco", key points in COCO's format, of any joints. "given" are those of `deeppose_jax.train.train`.
        dir: LSP's folder or zip as published; "" reads it from the TFDS manual directory.
        extended_dir: likewise for LSP Extended.
        labels: LSP's person-centric ("PC") or observer-centric ("OC") joints. LSP Extended is person-centric.
        split: see `deeppose_jax.data.splits`.
        validation: images held out of the training half by the "official" split, or of COCO's training file, or
            rendered for validation.
        train: synthetic figures to train on.
        test: synthetic figures to test on.
        canvas: pixels a side of the square canvas that every image is kept on.
        extended_box: LSP's images are cropped to their person, LSP Extended's aren't: "joints" takes stage 1's box
            around the labelled joints there, "image" the whole image.
        extended_box_scale: size of the "joints" box in units of the joints' bounding box.
        skip_unreadable: report and leave out images that can't be read, instead of stopping.
        placement: the training part's canvases stay on the "device" for the whole run; or a "stream" of batches comes
            from the host's memory; or the images stay in their "files", for sets larger than memory, and are decoded
            anew in each epoch, ahead of the steps, which find the damaged ones: only their sizes are read before.
            Validation and test canvases are always in memory.
        coco: the files of "coco".
        skeleton: the joints of a folder like LSP's: "" is LSP's 14, else "coco", "mpii", "flic" or a JSON file, see
            `skeleton_file.named_skeleton`.
        test_box: stage 1's box on LSP's validation and test images: "image", the whole image, or "joints", which takes
            the labels of the images that it is scored on.
    """

    dataset: Literal["synthetic", "lsp", "lsp_and_extended", "coco", "given"]
    dir: Location
    extended_dir: Location
    labels: Literal["PC", "OC"]
    split: Literal["official", "report"]
    validation: Size
    train: Size
    test: Size
    canvas: Annotated[int, Range(16, 8192)]
    extended_box: Literal["image", "joints"]
    extended_box_scale: Annotated[float, AtLeastOne]
    skip_unreadable: bool
    placement: Placement
    coco: CocoConfig = CocoConfig()
    test_box: Literal["image", "joints"] = "image"
    skeleton: Location = ""

    def __post_init__(self):
        in_files = self.dataset != "synthetic"
        check_placement(self.placement, self.dataset, in_files, self.skip_unreadable)
        if self.dataset == "lsp_and_extended" and self.labels == "OC":
            raise UserError(
                "config.data.labels: 'OC', but LSP Extended is labelled person-centric, so that left would mean two "
                "things; accepted: 'PC', or config.data.dataset='lsp'"
            )
        if self.skeleton and self.dataset != "lsp":
            raise UserError(
                f"config.data.skeleton: {self.skeleton!r} with config.data.dataset={self.dataset!r}, which has its own "
                "joints; accepted: '', or config.data.dataset='lsp'"
            )
