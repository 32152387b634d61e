"""The three most likely of ImageNet's 1000 classes for any photo.

Tutorials of this kind load one photo at 224 x 224, call `preprocess_input`, `predict` and
`decode_predictions(top=3)`. Three things go wrong in them without a word:
`preprocess_input` changes a float array in place, so that running its line twice
preprocesses twice (a value of 100 becomes -24, then -128); a photo taken with the phone
upright is read lying down, since its EXIF orientation is ignored; and photos are resized
without antialiasing. `decode_predictions` also downloads the class names, and gives
"crane" and "maillot" for two classes each.

Here a photo goes in and names come out: preprocessing is in the model, the names are in
the package, and the two cranes are told apart by their WordNet ids.

Quick:  python examples/classify_imagenet.py --data photo.jpg
        python examples/classify_imagenet.py --data folder_of_photos --limit 9 --out tops
The ImageNet weights with the 1000-class head (103 MB) are downloaded by Keras once.
"""

import argparse
from pathlib import Path

import kerasresnet as kr


def main(arguments=None):
    options = parse(arguments)
    weights = None if options.weights == "none" else options.weights
    model = kr.imagenet_classifier(weights=weights)
    if weights is None:
        print("RANDOM WEIGHTS: the answers below are meaningless.")

    photos = [Path(photo) for photo in options.data]
    if len(photos) == 1 and photos[0].is_dir():
        photos = list(kr.ImageData.from_paths(photos[0]).paths)
    predictions = kr.predict(model, photos[: options.limit], top=3)
    for prediction in predictions:
        print(f"\n{prediction.source}")
        for rank, (name, probability) in enumerate(prediction.top, 1):
            print(f"{rank}. {name}: {probability:.2%}")

    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        kr.plot_predictions(predictions).savefig(options.out / "predictions.png")
        print(f"\nfigure: {options.out / 'predictions.png'}")


def parse(arguments):
    parser = argparse.ArgumentParser(description="Names what is on photos.")
    parser.add_argument("--data", nargs="+", required=True, help="photos, or a folder")
    parser.add_argument("--limit", type=int, help="photos to name; default all")
    parser.add_argument("--weights", default="imagenet", help="or none, or a file")
    parser.add_argument("--out", type=Path, help="folder for a figure; default none")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
