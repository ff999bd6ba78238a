"""Synthetic people with joints in LSP's order, rendered by a JAX program from a seed."""

from deeppose_jax.synthetic.figure import Figure as Figure
from deeppose_jax.synthetic.figure import figures as figures
from deeppose_jax.synthetic.figure import render as render
