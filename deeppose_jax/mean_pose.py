"""The mean-pose floor: what a guess that doesn't depend on the image scores."""

import jax.numpy as jnp
import numpy as np

from deeppose_jax import codec, metrics
from deeppose_jax.cascade import StagePoses
from deeppose_jax.data.parts import Parts
from deeppose_jax.predictor import Predictions, to_image_pixels


def mean_pose_predictions(parts: Parts) -> Predictions:
    """The mean training pose in stage 1's boxes, on every test image, without losses.

    The mean is over the training images of the data set that is tested: LSP Extended's poses, in boxes around their
    joints, would lower the floor.
    """
    train, test = parts.train.poses, parts.test.poses
    own = slice(len(train) - parts.added)
    mean = metrics.mean_pose(
        np.asarray(codec.encode(train.joints, train.boxes))[own], train.labelled[own]
    )
    on_test = codec.decode(
        jnp.broadcast_to(jnp.asarray(mean, jnp.float32), test.joints.shape), test.boxes
    )
    on_test = np.asarray(on_test)
    stage = StagePoses(on_test, None, np.asarray(test.boxes)[:, None])
    return Predictions(to_image_pixels(on_test, test), np.full(len(test), np.nan), stage)
