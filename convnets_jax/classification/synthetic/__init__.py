"""Pictures of shapes, rendered by a JAX program from a seed."""

from convnets_jax.classification.synthetic.distances import CLASSES
from convnets_jax.classification.synthetic.picture import shapes

__all__ = ["CLASSES", "shapes"]
