"""What little of an image needs no model: a thumbnail of its pixels, and how often its colours occur.

They stand among the sites as `baseline.pixels` and `baseline.colours` and go through the same protocol. What they read
of a level is what any model has for free. Of a prompt it is the leaf's name: a binomial spells its genus, and many a
warbler is called one. `baseline.words` and `baseline.characters` count its words and its runs of three characters, and
`baseline.tokens` the model's own tokens among those that the store pools: the same words, before the model made
anything of them. In a store whose prompts contain the label that one is told the answer, as the model is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from commandline import InputError
from extract import Store
from extract.progress import bar
from extract.settings import DATASET_OPTIONS
from taxonomy.pictures import UnreadableImage, decode

SIDE = 16
"""Pixels of the thumbnail's side: 16 x 16 x RGB."""
BINS = 8
"""Bins of a channel: three histograms of 8."""
MOST_FEATURES = 4096
TEXT_NAMES = ("baseline.words", "baseline.characters")
TOKENS = "baseline.tokens"
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


def text_baselines(store: Store, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Features float32 (row, feature) of a text store's rows, by the names of `TEXT_NAMES` and `TOKENS`.

    Raises InputError where the model's tokenizer is not to be had any more.
    """
    names = [store.taxonomy.paths[leaf][-1] for leaf in store.samples.leaf[rows]]
    return {**name_baselines(names), TOKENS: token_counts(pooled_tokens(store, rows))}


def pooled_tokens(store: Store, rows: np.ndarray) -> list[list[int]]:
    """Of each row of a text store, the ids of the tokens that its activations are pooled over (`hooks.text`).

    Raises InputError where the model's tokenizer is not to be had any more.
    """
    from transformers import AutoTokenizer

    from extract.text import TEMPLATES
    from extract.text import rows as prompts

    model, pool = store.attrs["model"], store.attrs["pool"]
    try:
        tokenizer = AutoTokenizer.from_pretrained(model["id"], revision=model.get("revision"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"the tokenizer of {model['id']} cannot be loaded ({str(error).splitlines()[0]}); probe without --baselines"
        ) from error
    leaf, level = store.samples.leaf[rows], store.samples.level
    assert level is not None
    made = prompts(store.taxonomy, sorted(set(leaf.tolist())), TEMPLATES[store.attrs["template"]])
    asked = {(prompt.leaf, prompt.level): prompt for prompt in made}
    found = []
    for key in zip(leaf.tolist(), level[rows].tolist(), strict=True):
        encoded = tokenizer(asked[key].text, add_special_tokens=False, return_offsets_mapping=True)
        found.append(_pooled(encoded, asked[key].text, asked[key].name if pool == "name" else None))
    return [ids[-1:] for ids in found] if pool == "last" else found


def _pooled(encoded: Any, text: str, name: str | None) -> list[int]:
    """The ids of the tokens that cover characters of `name`, or of the whole text."""
    start, length = (0, len(text)) if name is None else (text.find(name), len(name))
    return [
        token
        for token, (first, last) in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
        if last > first and first < start + length and last > start
    ]


def token_counts(tokens: Sequence[Sequence[int]]) -> np.ndarray:
    """float32 (row, token): how often each row has each of the `MOST_FEATURES` most common tokens.

    Tokens that occur in one kind of row only tell no class and are left out, unless all do.
    """
    occurs = Counter(token for row in sorted({tuple(row) for row in tokens}) for token in set(row))
    common = [token for token, rows in occurs.most_common(MOST_FEATURES) if rows > 1] or list(occurs)[:MOST_FEATURES]
    column = {token: index for index, token in enumerate(common)}
    found = np.zeros((len(tokens), len(column)), np.float32)
    for row, own in enumerate(tokens):
        for token in own:
            if token in column:
                found[row, column[token]] += 1
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
