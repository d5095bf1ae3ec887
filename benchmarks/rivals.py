"""Other tools doing what `augmentation.RANGES` does to a batch of uint8 images (B, H, W, C).

Each function builds a tool and returns `run(count)`, which varies the batch `count` times. Tools that are not
installed raise ImportError.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np


def in_tf_data(change):
    """`change(number of the batch)` in `tf.data.map`, two batches at a time."""
    import tensorflow as tf

    options = tf.data.Options()
    options.autotune.enabled = False  # autotuning stalls for seconds when an iterator ends
    batches = tf.data.Dataset.range(10**9).map(change, num_parallel_calls=2, deterministic=True)

    def run(count):  # to its end, so that no batch is made before the clock starts or after it stops
        for _ in batches.take(count).prefetch(2).with_options(options):
            pass

    return run


def keras_chain():
    """The ranges in Keras' layers. RandomZoom's factors count the other way round: 1 / (1 + f)."""
    import keras

    return keras.Sequential(
        [
            keras.layers.RandomZoom((-1 / 6, 0.25)),
            keras.layers.RandomTranslation(0.1, 0.1),
            keras.layers.RandomRotation(30 / 360),
            keras.layers.RandomFlip("horizontal"),
        ]
    )


def keras_layers(images):
    import tensorflow as tf

    chain, batch = keras_chain(), tf.constant(images)
    return in_tf_data(lambda number: chain(batch, training=True))


def opencv(images):
    """cv2.warpAffine, a matrix an image, the batch halved between two threads."""
    import cv2

    cv2.setNumThreads(1)  # the two threads are ours: a small image is not worth dividing
    seeds, half = np.random.default_rng(0), len(images) // 2
    pool = ThreadPoolExecutor(2)
    _, height, width, _ = images.shape

    def warped(batch, matrices):
        out = np.empty_like(batch)
        for i, matrix in enumerate(matrices):
            result = cv2.warpAffine(
                batch[i],
                matrix,
                (width, height),
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_REFLECT,
            )
            out[i] = result.reshape(out.shape[1:])
        return out

    def run(count):
        for _ in range(count):
            drawn = matrices(seeds.random((len(images), 5)), height, width)
            list(pool.map(warped, (images[:half], images[half:]), (drawn[:half], drawn[half:])))

    return run


def matrices(draws, height, width):
    """The matrices (B, 2, 3), from result to image, that five uniform numbers an image stand for."""
    scale = np.exp(np.log(0.8) + np.log(1.2 / 0.8) * draws[:, 0])
    angle = np.radians(30 * (2 * draws[:, 1] - 1))
    flip = np.where(draws[:, 2] < 0.5, -1, 1)
    a, b = flip * np.cos(angle) / scale, -flip * np.sin(angle) / scale
    c, d = np.sin(angle) / scale, np.cos(angle) / scale
    centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
    x = centre_x + width * 0.1 * (2 * draws[:, 3] - 1)
    y = centre_y + height * 0.1 * (2 * draws[:, 4] - 1)
    return np.array([[a, b, centre_x - a * x - b * y], [c, d, centre_y - c * x - d * y]]).transpose(2, 0, 1)


def albumentations(images):
    return _albumentations(images, map)


def albumentations_2_threads(images):
    return _albumentations(images, ThreadPoolExecutor(2).map)


def _albumentations(images, mapped):
    import albumentations
    import cv2

    cv2.setNumThreads(1)
    affine = albumentations.Affine(
        scale=(0.8, 1.2), translate_percent=(-0.1, 0.1), rotate=(-30, 30), border_mode=cv2.BORDER_REFLECT, p=1
    )
    transform = albumentations.Compose([affine, albumentations.HorizontalFlip(p=0.5)])

    def run(count):
        for _ in range(count):
            np.stack(list(mapped(lambda image: transform(image=image)["image"], images)))

    return run


def kornia(images):
    """RandomAffine and RandomHorizontalFlip on the batch; it wants float images with channels first."""
    import kornia.augmentation
    import torch

    torch.set_num_threads(2)
    chain = torch.nn.Sequential(
        kornia.augmentation.RandomAffine(
            degrees=30, translate=(0.1, 0.1), scale=(0.8, 1.2), padding_mode="reflection", p=1.0
        ),
        kornia.augmentation.RandomHorizontalFlip(p=0.5),
    )
    batch = torch.from_numpy(images)

    def run(count):
        for _ in range(count):
            chain(batch.permute(0, 3, 1, 2).float())

    return run
