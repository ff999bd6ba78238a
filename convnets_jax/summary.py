"""Prints parameters and multiply-adds of the networks, each for images of the size that it was published with.

    python -m convnets_jax.summary [NAME] [--json]

All networks, or NAME layer by layer, each with 1000 classes and RGB images. Parameters are the trained ones; only
those of alexnet_bn include its running statistics, as its commonly quoted count of 62,416,616 does. A multiply-add
is one term of a convolution's or matrix product's sums for one image, padding included; other operations are not
counted. GoogLeNet's auxiliary heads have parameters, but take no part in evaluation.
"""

import argparse
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.extend.core import Var, jaxprs_in_params

from convnets_jax import zoo
from convnets_jax.features import Features
from engine_jax import cli

_WITH_STATISTICS = "alexnet_bn"  # the commonly quoted count of its parameters includes them
_IN_CHANNELS = 3


@dataclass(frozen=True)
class Layer:
    """A module that has weights of its own.

    Attributes:
        name: its path in the network.
        output: shape of a convolution's or linear layer's output for one image, (h, w, c) or (c,); () for others.
        parameters: trained numbers.
        statistics: running statistics of batch normalisation.
        multiply_adds: for one image.
    """

    name: str
    output: tuple[int, ...]
    parameters: int
    statistics: int
    multiply_adds: int


def layers_of(network: zoo.Classifier | Features, image: tuple[int, int, int]) -> list[Layer]:
    """The layers of a network in evaluation, in the order of their use; unused ones come last.

    Nothing is computed: the operations are read from the network's jaxpr, where a layer is recognised by its weights.

    Args:
        network: with arrays, or with shapes in their place.
        image: the shape of an image, [h, w, c].
    """
    graphdef, state = nnx.split(network)

    def forward(state: nnx.State, x: jax.Array) -> jax.Array:
        network = nnx.merge(graphdef, state)
        network.eval()
        return network(x)

    traced = jax.make_jaxpr(forward)(state, jax.ShapeDtypeStruct((1, *image), jnp.float32))
    names = _names(state)
    uses = list(_uses(traced.jaxpr, dict(zip(traced.jaxpr.invars, [*names, ""], strict=True))))
    outputs = {use.layer: use.output for use in uses if use.multiply_adds}
    multiply_adds = _totals((use.layer, use.multiply_adds) for use in uses)
    parameters, statistics = (
        _totals(zip(_names(part), [leaf.size for leaf in jax.tree.leaves(part)], strict=True))
        for part in (nnx.state(network, nnx.Param), nnx.state(network, nnx.BatchStat))
    )
    return [
        Layer(
            name,
            outputs.get(name, ()),
            parameters.get(name, 0),
            statistics.get(name, 0),
            multiply_adds.get(name, 0),
        )
        for name in dict.fromkeys([*multiply_adds, *names])
    ]


def _names(state: Any) -> list[str]:
    """For each leaf, the path of the module that holds it."""
    leaves = jax.tree_util.tree_leaves_with_path(nnx.to_pure_dict(state))
    return [jax.tree_util.keystr(path[:-1], simple=True, separator=".") for path, _ in leaves]


def _totals(pairs: Iterable[tuple[str, int]]) -> dict[str, int]:
    totals: dict[str, int] = {}
    for name, number in pairs:
        totals[name] = totals.get(name, 0) + number
    return totals


class _Use(NamedTuple):
    """An operation that reads the weights of a layer or multiplies, or both."""

    layer: str
    output: tuple[int, ...]
    multiply_adds: int


def _uses(jaxpr: Any, known: dict[Any, str]) -> Iterator[_Use]:
    """The operations of a jaxpr in order. `known` maps variables that hold weights to their layers' names."""
    for operation in jaxpr.eqns:
        inputs = [known.get(v, "") if isinstance(v, Var) else "" for v in operation.invars]
        for part in jaxprs_in_params(operation.params):
            same = len(part.invars) == len(inputs)  # as in a call
            yield from _uses(part, dict(zip(part.invars, inputs, strict=True)) if same else {})
        layer, terms = next(filter(None, inputs), ""), _multiply_adds(operation)
        if layer or terms:
            yield _Use(layer, operation.outvars[0].aval.shape[1:], terms)


def _multiply_adds(operation: Any) -> int:
    """Outputs of a convolution or matrix product times the terms of each; 0 for other operations."""
    if operation.primitive.name == "conv_general_dilated":
        kernel = operation.invars[1].aval.shape
        _, *axes = operation.params["dimension_numbers"].rhs_spec  # all but the output channels'
        terms = prod(kernel[axis] for axis in axes)
    elif operation.primitive.name == "dot_general":
        left = operation.invars[0].aval.shape
        (contracted, _), _ = operation.params["dimension_numbers"]
        terms = prod(left[axis] for axis in contracted)
    else:
        return 0
    return terms * prod(operation.outvars[0].aval.shape)


def layers(name: str) -> list[Layer]:
    """The layers of a network of the zoo, with 1000 classes and images of the size that it was published with.

    Raises UserError for an unknown name.
    """
    size = zoo.model(name).input_size
    return layers_of(zoo.shapes(name), (size, size, _IN_CHANNELS))


def counts(name: str) -> dict[str, int]:
    """A network's "parameters" and "multiply_adds", as the first lines of this file define them."""
    return _counts(name, layers(name))


def _counts(name: str, found: list[Layer]) -> dict[str, int]:
    parameters = sum(layer.parameters for layer in found)
    if name == _WITH_STATISTICS:
        parameters += sum(layer.statistics for layer in found)
    return {
        "parameters": parameters,
        "multiply_adds": sum(layer.multiply_adds for layer in found),
    }


def main(args: argparse.Namespace) -> None:
    names = [args.name] if args.name else list(zoo.MODELS)
    if args.json:
        print(json.dumps({name: counts(name) for name in names}, indent=2))
    elif args.name:
        _print_layers(args.name)
    else:
        _print_networks()


def _print_networks() -> None:
    print(
        f"{'network':<18} {'image':>7} {'parameters':>13} {'statistics':>11} {'multiply-adds':>15}"
    )
    for name, entry in zoo.MODELS.items():
        found = layers(name)
        statistics, total = sum(layer.statistics for layer in found), _counts(name, found)
        mark = "*" if name == _WITH_STATISTICS else " "
        print(
            f"{name:<18} {entry.input_size:>3}x{entry.input_size:<3} {total['parameters']:>12,}{mark} "
            f"{statistics:>11,} {total['multiply_adds']:>15,}"
        )
    print(
        "1000 classes. Parameters are trained, statistics are batch normalisation's running ones.\n"
        f"* {_WITH_STATISTICS}: with its statistics, as this count is commonly quoted."
    )


def _print_layers(name: str) -> None:
    found = layers(name)
    width = max(len(layer.name) for layer in found)
    print(
        f"{name:<{width}} {'output':>14} {'parameters':>13} {'statistics':>11} {'multiply-adds':>15}"
    )
    for layer in found:
        print(
            f"{layer.name:<{width}} {'x'.join(map(str, layer.output)):>14} {layer.parameters:>13,} "
            f"{layer.statistics:>11,} {layer.multiply_adds:>15,}"
        )
    totals = [
        sum(getattr(layer, field) for layer in found)
        for field in ("parameters", "statistics", "multiply_adds")
    ]
    print(f"{'total':<{width}} {'':>14} {totals[0]:>13,} {totals[1]:>11,} {totals[2]:>15,}")
    if name == _WITH_STATISTICS:
        print(f"parameters and statistics together: {totals[0] + totals[1]:,}")


def parser() -> argparse.ArgumentParser:
    """The program's command line."""
    command = argparse.ArgumentParser(
        prog="python -m convnets_jax.summary", description=(__doc__ or "").splitlines()[0]
    )
    command.add_argument("name", nargs="?", metavar="NAME", help="one network, layer by layer")
    command.add_argument(
        "--json", action="store_true", help='{name: {"parameters": .., "multiply_adds": ..}}'
    )
    return command


if __name__ == "__main__":
    cli.run(main, parser())
