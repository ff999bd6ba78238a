"""Where the training images are while a network is trained."""

from typing import Literal

from engine_jax.errors import UserError

# On the devices; in the host's memory, from which batches are sent; or in their files, which batches are decoded from.
Placement = Literal["device", "stream", "files"]


def check_placement(
    placement: Placement, dataset: str, in_files: bool, skip_unreadable: bool
) -> None:
    """Checks that training images can be where a configuration wants them.

    Args:
        placement: where they are to be.
        dataset: `config.data.dataset`.
        in_files: whether its images are files.
        skip_unreadable: whether unreadable ones are to be left out, which is known once all are decoded.

    Raises:
        UserError: naming the field.
    """
    if placement != "files":
        return
    if not in_files:
        raise UserError(
            f"config.data.placement: 'files' with config.data.dataset={dataset!r}, whose images are in memory; "
            "accepted: 'device' or 'stream'"
        )
    if skip_unreadable:
        raise UserError(
            "config.data.skip_unreadable: True with config.data.placement='files', where training finds what can't be "
            "read; accepted: False"
        )
