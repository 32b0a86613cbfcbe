"""What little of an image needs no model: a thumbnail of its pixels, and how often its colours occur.

They stand among the sites as `baseline.pixels` and `baseline.colours` and go through the same protocol. What they read
of a level is what any model has for free. Of a prompt it is the leaf's name: a binomial spells its genus, and many a
warbler is called one. `baseline.words` and `baseline.characters` count its words and its runs of three characters.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from commandline import InputError
from extract import Store
from extract.decoding import UnreadableImage, decode
from extract.progress import bar
from extract.settings import DATASET_OPTIONS

SIDE = 16
"""Pixels of the thumbnail's side: 16 x 16 x RGB."""
BINS = 8
"""Bins of a channel: three histograms of 8."""
MOST_FEATURES = 4096
TEXT_NAMES = ("baseline.words", "baseline.characters")
NAMES = ("baseline.pixels", "baseline.colours")


def baselines(store: Store, ids: Sequence[str]) -> dict[str, np.ndarray]:
    """Features float32 (id, feature) by the names of `NAMES`, from the images that the store was made of.

    The dataset is opened as it was at extraction. Raises InputError where it or an image is not there any more.
    """
    from taxonomy import load_images

    arguments = (store.attrs.get("dataset") or {}).get("arguments")
    if not arguments or "dataset" not in arguments:
        raise InputError(f"{store.path} does not say where its images are; probe without --baselines")
    options = {name: arguments[name] for name in DATASET_OPTIONS if arguments.get(name) is not None}
    images = load_images(arguments["dataset"], **options)
    place = {name: index for index, name in enumerate(images.ids)}
    pixels, colours = [], []
    for name in bar(len(ids), "image", "baselines", iterable=ids):
        if name not in place:
            raise InputError(f"{arguments['dataset']} has no image {name!r} any more; probe without --baselines")
        try:
            picture = decode(images.read(place[name]))
        except (OSError, UnreadableImage) as error:
            raise InputError(f"{name!r} of {arguments['dataset']} cannot be read: {error}") from error
        pixels.append(thumbnail(picture))
        colours.append(histogram(picture))
    return dict(zip(NAMES, (np.array(pixels), np.array(colours)), strict=True))


def name_baselines(names: Sequence[str]) -> dict[str, np.ndarray]:
    """Features float32 (row, feature) of the leaf's name in each row's prompt, by the names of `TEXT_NAMES`.

    Words and character trigrams that occur in one name only tell no class and are left out, unless all do; of the
    others the most common `MOST_FEATURES` are kept.
    """
    from sklearn.feature_extraction.text import CountVectorizer

    different = sorted(set(names))
    found = {}
    for site, (analyzer, length) in zip(TEXT_NAMES, (("word", 1), ("char_wb", 3)), strict=True):
        counter = CountVectorizer(
            analyzer=analyzer,  # pyright: ignore[reportArgumentType]
            ngram_range=(length, length),
            token_pattern=r"(?u)\w+" if analyzer == "word" else None,  # pyright: ignore[reportArgumentType]
            max_features=MOST_FEATURES,
        )
        try:
            counter.set_params(min_df=2).fit(different)
        except ValueError:  # nothing occurs in two names
            counter.set_params(min_df=1).fit(different)
        found[site] = np.asarray(counter.transform(names).todense(), np.float32)  # pyright: ignore
    return found


def thumbnail(picture: Image.Image) -> np.ndarray:
    """float32 (16 * 16 * 3,): the RGB picture squeezed, whatever its shape, values from 0 to 1."""
    small = picture.resize((SIDE, SIDE), Image.Resampling.BOX)
    return (np.asarray(small, np.float32) / 255).ravel()


def histogram(picture: Image.Image) -> np.ndarray:
    """float32 (3 * 8,): the share of the RGB picture's pixels in each of eight equal bins, channel by channel."""
    values = np.asarray(picture).reshape(-1, 3) // (256 // BINS)
    counts = [np.bincount(channel, minlength=BINS) for channel in values.T]
    return (np.concatenate(counts) / len(values)).astype(np.float32)
