"""The outputs of blocks inside of a network, by the blocks' names."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import jax
from flax import nnx
from jaxtyping import Array, Float

from convnets_jax.features import Features
from engine_jax.errors import UserError, listed


def block_outputs(
    features: Features, blocks: Sequence[str], images: Float[Array, "b h w 3"]
) -> list[jax.Array]:
    """What blocks give while the network runs, [b, h_i, w_i, c_i] each; of a block with several maps, the last one.

    Args:
        features: any network's, in its evaluation form.
        blocks: names of modules in it, such as "stages.1" of a ResNet or "blocks.6" of MobileNetV2.
        images: normalised.

    Raises:
        UserError: when there is no block of that name, or it gives no map.
    """
    found: dict[str, Any] = {}
    with ExitStack() as recorded:
        for name in dict.fromkeys(blocks):
            recorded.enter_context(_recorded(_block(features, name), name, found))
        features(images)
    for name in blocks:
        output = found.get(name)
        if getattr(output, "ndim", 0) != 4:
            raise UserError(f"block {name!r} of {features.network}: it gives no map")
    return [found[name] for name in blocks]


def _block(features: Features, name: str) -> nnx.Module:
    found: Any = features
    for part in name.split("."):
        inside = isinstance(found, nnx.List) and part.isdecimal() and int(part) < len(found)
        found = found[int(part)] if inside else getattr(found, part, None)
    if not isinstance(found, nnx.Module) or isinstance(found, nnx.List):
        names = [".".join(map(str, path)) for path, _ in nnx.iter_modules(features) if path]
        shown = [n for n in names if n.count(".") <= 1 and n.split(".")[-1].isdecimal()]
        raise UserError(
            f"there is no block {name!r} in {features.network}; accepted: {listed(shown, 40)}"
        )
    return found


@contextmanager
def _recorded(block: nnx.Module, name: str, outputs: dict[str, Any]) -> Iterator[None]:
    """Inside, what the block gives is kept."""
    kind: Any = type(block)

    class Recorded(kind):
        def __call__(self, *args: Any, **options: Any) -> Any:
            output = super().__call__(*args, **options)
            outputs[name] = output[-1] if isinstance(output, list) else output
            return output

    block.__class__ = Recorded
    try:
        yield
    finally:
        block.__class__ = kind
