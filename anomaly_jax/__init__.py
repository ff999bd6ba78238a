"""Anomaly detection with autoencoders that are trained on good images only, in JAX and Flax NNX."""
