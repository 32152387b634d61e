"""How far bfloat16 features and answers are from float32, on real photos.

Run it:  python tests/benchmarks/precision.py --photos 500 --image-size 128

A head is trained in float32 on all photos; then it is given features in both precisions.
Prints the difference of the features, as a share of their norm, and the share of photos
that are called the same.
"""

import argparse

import sides


def main():
    """Measures and prints."""
    made = argparse.ArgumentParser(description=__doc__)
    sides.add_images(made, photos=500)
    sides.add_training(made, epochs=10)
    options = made.parse_args()
    kr = sides.load_library()
    import numpy as np

    folder = sides.photo_folder(options)
    weights = sides.weights_file(options)
    data = kr.ImageData.from_folder(folder).take(options.photos, seed=0)
    size = options.image_size
    model = kr.build_classifier(
        class_names=data.class_names,
        weights=weights,
        input_shape=(size, size, 3),
    )
    kr.fit(
        model,
        data,
        epochs=options.epochs,
        precision="float32",
        cache="memory",
        verbose=0,
    )
    _, tail = kr.split_at(model, "avg_pool")
    features = {
        precision: kr.extract_features(
            model, data, precision=precision, cache="memory", verbose=0
        )
        for precision in ("float32", "bfloat16")
    }
    exact, rough = features.values()
    share = np.linalg.norm(exact - rough) / np.linalg.norm(exact)
    answers = [tail.predict(x, verbose=0).argmax(axis=1) for x in (exact, rough)]
    same = float((answers[0] == answers[1]).mean())
    print(f"{len(data)} photos of {size} px, {sides.describe_weights(weights)}")
    print(f"difference of the features: {share:.2%} of their norm")
    print(f"called the same: {same:.1%}")


if __name__ == "__main__":
    main()
