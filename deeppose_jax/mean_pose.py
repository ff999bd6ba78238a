"""The mean-pose floor: what a guess that doesn't depend on the image scores."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from deeppose_jax import codec, metrics
from deeppose_jax.data.load import Parts
from deeppose_jax.predictor import to_image_pixels


def mean_pose_joints(parts: Parts) -> Float[np.ndarray, "n k 2"]:
    """The mean training pose in stage 1's boxes, on every test image; in the images' pixels.

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
    return to_image_pixels(np.asarray(on_test), test)
