"""Pictures of shapes, rendered by a JAX program from a seed."""

from classify_jax.synthetic.distances import CLASSES
from classify_jax.synthetic.picture import shapes

__all__ = ["CLASSES", "shapes"]
