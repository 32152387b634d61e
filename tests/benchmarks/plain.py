"""Transfer learning in plain Keras, as a careful user writes it: the side to compare with.

Pixels are decoded and resized once and cached as uint8; the pipeline prefetches; batch
normalisation stands still; the last layer stays in float32.
"""

import keras
import tensorflow as tf
from keras.applications import resnet50

AUTOTUNE = tf.data.AUTOTUNE


def batches(data, *, image_size, training, batch_size=32):
    """Returns the photos of an `ImageData` as preprocessed batches."""
    paths = [str(path) for path in data.paths]
    photos = tf.data.Dataset.from_tensor_slices((paths, data.labels))
    photos = photos.map(_reader(image_size), num_parallel_calls=AUTOTUNE).cache()
    if training:
        photos = photos.shuffle(len(paths), seed=0)
    photos = photos.batch(batch_size)
    return photos.map(_preprocessed, num_parallel_calls=AUTOTUNE).prefetch(AUTOTUNE)


def network(classes, *, image_size, weights, hidden_units):
    """Builds a frozen ResNet50 with a new head, and returns both models."""
    base = resnet50.ResNet50(
        include_top=False,
        pooling="avg",
        weights=None,
        input_shape=(image_size, image_size, 3),
    )
    if weights is not None:
        base.load_weights(weights)
    base.trainable = False
    values = base.output
    for units in hidden_units:
        values = keras.layers.Dense(units, activation="relu")(values)
    # float32 under every policy: a softmax in half precision loses small probabilities.
    outputs = keras.layers.Dense(classes, activation="softmax", dtype="float32")(values)
    return base, keras.Model(base.input, outputs)


def unfreeze(base, *prefixes):
    """Trains the layers whose names start so, but keeps batch normalisation still."""
    base.trainable = True
    for layer in base.layers:
        still = isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = layer.name.startswith(prefixes) and not still


def compile_model(model, learning_rate):
    """Compiles a model for integer labels."""
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )


def _reader(image_size):
    def read(path, label):
        photo = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
        photo = tf.image.resize(photo, (image_size, image_size), antialias=True)
        return tf.saturate_cast(tf.round(photo), tf.uint8), label

    return read


def _preprocessed(photos, labels):
    return resnet50.preprocess_input(tf.cast(photos, tf.float32)), labels
