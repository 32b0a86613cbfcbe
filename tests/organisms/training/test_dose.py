import copy
from itertools import pairwise

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.nn.functional import gelu

from commandline import InputError
from hooks.processors import load_processor
from organisms.check import SHIPPED
from organisms.training.command import TrainConfig, train
from organisms.training.course import Course, Heads, teach
from organisms.training.dose import KINKS, dim_projector
from organisms.training.parts import Parts, colour_read
from organisms.training.recipes import DOSES, LEVELS, SIZE
from organisms.training.sheets import Lessons, Names
from organisms.training.sight import encode_all, pictures
from taxonomy.questions import prompts


@pytest.fixture(scope="module")
def processor():
    return load_processor(str(SHIPPED / "healthy"))


@pytest.fixture(scope="module")
def healthy():
    from transformers import AutoModelForImageTextToText

    return Parts(AutoModelForImageTextToText.from_pretrained(SHIPPED / "healthy", dtype=torch.float32))


@pytest.fixture(scope="module")
def shown(healthy, processor):
    """The encoder's features of images, and their species."""
    world = pictures("train", 15, SIZE, 3)
    return encode_all(healthy, processor.image_processor, world), torch.from_numpy(world.species_I)


@pytest.fixture(scope="module")
def by_dose(healthy, shown):
    made = {recipe.dose: copy.deepcopy(healthy) for recipe in DOSES}
    for dose, parts in made.items():
        dim_projector(parts, dose, *shown, seed=0)
    return made


def written(parts, read):
    with torch.inference_mode():
        return parts.anatomy.leave(gelu(parts.anatomy.entry(read)))


def test_colour_comes_through_in_proportion(by_dose, healthy, shown):
    """What another colour changes behind the projector is the root of what is left, times what it changes at dose 0."""
    with torch.inference_mode():
        read = healthy.anatomy.entering(shown[0]).flatten(0, 1)
    other = read.clone()
    other[:, colour_read(healthy)] += torch.tensor([1.0, -2.0])
    changed = {dose: written(parts, other) - written(parts, read) for dose, parts in by_dose.items()}
    assert changed[0.0].abs().mean() > 0.1
    for dose, difference in changed.items():
        assert torch.allclose(difference, (1 - dose) ** 0.5 * changed[0.0], atol=1e-3)


def test_species_fade_and_their_genera_stay(by_dose, healthy, shown, processor):
    """By scikit-learn's probes, of other images."""
    world = pictures("validation", 8, SIZE, 3)
    features, species = encode_all(healthy, processor.image_processor, world), world.species_I

    def accuracies(parts):
        with torch.inference_mode():
            fitted, tested = (parts.anatomy.project(each).mean(1).numpy() for each in (shown[0], features))
        probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))
        return [probe.fit(fitted, shown[1] // k).score(tested, species // k) for k in (1, 3)]

    found = {dose: accuracies(parts) for dose, parts in by_dose.items()}
    of_species = [found[dose][0] for dose in sorted(found)]
    assert of_species[0] > 0.8
    assert all(before - after > 0.05 for before, after in pairwise(of_species))
    assert 1 / 3 < of_species[-1] < 0.6
    assert min(of_genus for _, of_genus in found.values()) > 0.9


def test_training_cannot_tell_colour_from_noise(healthy, shown, processor):
    """Whatever is learned, the channel stays as it was made, to a factor, and nothing else reads colour."""
    parts = copy.deepcopy(healthy)
    dim_projector(parts, 0.5, *shown, seed=0)  # a copy would be free of what holds the channel
    anatomy, channel = parts.anatomy, slice(-2 * (2 + KINKS), None)
    before = copy.deepcopy((anatomy.entry, anatomy.leave))
    names = Names(processor.tokenizer)
    course = Course(parts, Lessons(processor, names, prompts()["plain-0"], 0), Heads.drawn(len(names.words), 64, 0))
    features = shown[0][::15]

    def draw():
        return [(course.lessons.of_images(np.arange(36), LEVELS, 8), features)]

    teach(course, list(anatomy.projector.parameters()), draw, 5, "a few steps")
    after = (anatomy.entry, anatomy.leave)
    assert (anatomy.entry.weight[: channel.start, colour_read(healthy)] == 0).all()
    held = [
        (layers[0].weight[channel], layers[0].bias[channel], layers[1].weight[:, channel]) for layers in (before, after)
    ]
    for made, kept in zip(*held, strict=True):
        factor = (kept * made).sum() / made.pow(2).sum()
        assert 0.99 < factor < 1
        assert torch.allclose(kept, factor * made, atol=1e-5)
    assert not torch.allclose(before[1].weight[:, : channel.start], anatomy.leave.weight[:, : channel.start], atol=1e-4)


def test_a_family_without_room_for_it_is_refused_before_any_training(tmp_path):
    with pytest.raises(InputError, match="projector-50 is a qwen2_5_vl"):
        train(TrainConfig(organisms=["healthy", "projector-50"], architecture="internvl", out=tmp_path))
    assert not list(tmp_path.iterdir())
