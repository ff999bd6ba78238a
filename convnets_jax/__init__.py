"""Convolutional networks from LeNet-5 to MobileNet, as backbones and as classifiers, in Flax NNX."""

from importlib import import_module

__all__ = ["create", "torchvision"]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str):
    # Whoever needs one layer or network shouldn't pay for the import of all.
    if name == "create":
        from convnets_jax.zoo import create

        return create
    if name == "torchvision":
        return import_module("convnets_jax.torchvision")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
