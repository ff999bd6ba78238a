"""Synthetic hazelnuts with exact masks of their defects, rendered by a JAX program from a seed."""

from anomaly_jax.synthetic.defects import DEFECTS as DEFECTS
from anomaly_jax.synthetic.picture import Picture as Picture
from anomaly_jax.synthetic.picture import nuts as nuts
from anomaly_jax.synthetic.picture import render as render
