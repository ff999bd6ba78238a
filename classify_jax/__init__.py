"""Image classification with the networks of `convnets_jax`: folders of images, TFDS's sets, rendered shapes.

from classify_jax import load

load("runs/classify-demo").predict(images)
"""

__all__ = ["load"]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str):
    # load needs orbax, which an import of the modules alone shouldn't pay for.
    if name == "load":
        from classify_jax.predict import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
