"""Anomaly detection with autoencoders that learn from good images only, in JAX and Flax NNX."""

from anomaly_jax.autoencoder import Autoencoder, AutoencoderConfig
from anomaly_jax.detector import Detector, DetectorConfig
from anomaly_jax.scoring import Prediction
from anomaly_jax.segmenter import Segmenter, SegmenterConfig
from anomaly_jax.thresholds import Thresholds

__all__ = [
    "Autoencoder",
    "AutoencoderConfig",
    "Detector",
    "DetectorConfig",
    "Prediction",
    "Segmenter",
    "SegmenterConfig",
    "Thresholds",
    "load",
]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str):
    # load needs matplotlib and orbax, which an import of the modules alone shouldn't pay for.
    if name == "load":
        from anomaly_jax.predict import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
