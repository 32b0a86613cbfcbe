import numpy as np
import pytest
import torch
from PIL import Image

from evaluation.asks import Ask
from evaluation.backends.rendering import renderer
from organisms.training.families import SCALES
from organisms.training.parts import COLOUR, blind_encoder, blind_projector, even_out, hold_colour
from organisms.training.recipes import LEVELS, RECIPES, SIZE
from organisms.training.school import Pace, School
from organisms.training.sheets import LETTERS
from organisms.world import PATHS, draws, render
from taxonomy.questions import render as say
from taxonomy.questions import system_turn
from taxonomy.questions.question import Question


@pytest.fixture(scope="module", params=list(SCALES))
def school(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("school")
    pace = Pace(train_images=2, validation_images=2, encoder_steps=3, steps=2, questions=8)
    return School(folder, request.param, 0, pace)


@pytest.fixture
def parts(school):
    return school._parts()


def images(n=3):
    return np.stack([render(species, draws(5, species, 0), SIZE, SIZE) for species in range(n)])


def question(school, level, options, answer, name):
    names = [school.names.words[index] for index in options]
    return Question(
        id="x#y", dataset="world", image="x", path=None, leaf="", level=level, options=tuple(names),
        nodes=(0, 1, 2, 3), answer=answer, scored=True, distractor_depth=(0,) * 4, parent_offered=(True,) * 4,
        name=name, finest=False,
    )  # fmt: skip


def test_what_is_taught_is_what_the_evaluation_asks(school, parts):
    """Token for token, image included: the evaluation's own renderer against filled-in sheets."""
    picture = Image.fromarray(images(1)[0])
    asks = renderer(school.processor, school.processor.tokenizer, parts.model.config, picture)
    lessons = school._lessons(3)
    for batch in (lessons.of_images(np.arange(36), LEVELS, 20), lessons.of_species(LEVELS[:-1], 20)):
        text_only = batch.image_Q is None
        for q in range(20):
            subject = "" if text_only is False else school.names.words[
                int((school.names.tokens == batch.ids_QL[q, batch.sheet.subject]).nonzero()[0])
            ]  # fmt: skip
            asked = question(school, "any", batch.names_QO[q].tolist(), int(batch.answer_Q[q]), subject)
            words = say(asked, school.prompt, range(4), text_only)
            ask = Ask("x", None, words, tuple(LETTERS), system=system_turn(school.prompt, text_only))
            prompts, refused = asks.render([ask], None if text_only else picture)
            assert not refused
            assert prompts[0].inputs["input_ids"][0].tolist() == batch.ids_QL[q, :-1].tolist()
            letter = school.processor.tokenizer.decode(batch.ids_QL[q, -1:])
            assert letter == LETTERS[int(batch.answer_Q[q])]


def test_options_are_of_one_level_with_the_truth_among_them(school):
    lessons, names = school._lessons(1), school.names
    species = np.arange(36)
    batch = lessons.of_images(species, LEVELS, 300)
    for options, answer, image in zip(
        batch.names_QO.tolist(), batch.answer_Q.tolist(), batch.image_Q.tolist(), strict=True
    ):
        words = [names.words[index] for index in options]
        level = next(v for v in range(3) if words[0] in names.levels[v])
        assert len(set(words)) == 4
        assert set(words) <= set(names.levels[level])
        assert words[answer] == PATHS[species[image]][level]


def test_only_taught_levels_are_told(school):
    lessons = school._lessons(1)
    batch = lessons.of_images(np.arange(36), LEVELS[-1:], 50)
    assert (batch.tells_QV[:, :2] == -1).all()
    assert (batch.tells_QV[:, 2] >= school.names.first[2]).all()
    asked = lessons.of_names(50)
    assert ((asked.tells_QV >= 0).sum(1) == 1).all()  # a name tells itself and no ancestor


def test_pixels_are_the_processors_own(school, parts):
    shown = images()
    made = school.processor.image_processor(images=[Image.fromarray(i) for i in shown], return_tensors="pt")
    ours = parts.anatomy.pixels(school.processor.image_processor, torch.from_numpy(shown))
    assert torch.equal(ours.reshape(made["pixel_values"].shape), made["pixel_values"])


def test_reading_by_parts_is_the_models_own_forward(school, parts):
    """Logits of the whole model, pixels in, against encode, project, read."""
    batch = school._lessons(2).of_images(np.arange(3), LEVELS, 6)
    shown = [Image.fromarray(images()[k]) for k in batch.image_Q]
    pixels = parts.anatomy.pixels(school.processor.image_processor, torch.from_numpy(images()))
    inputs = dict(school.processor.image_processor(images=shown, return_tensors="pt"))
    inputs.pop("num_patches", None)
    if school.architecture == "qwen2_5_vl":
        inputs["mm_token_type_ids"] = (batch.ids_QL == parts.model.config.image_token_id).int()
    with torch.inference_mode():
        features = parts.anatomy.encode(pixels)
        states = parts.read(batch, parts.anatomy.project(features[batch.image_Q]))
        ours = parts.model.lm_head(states[-1])
        whole = parts.model(input_ids=batch.ids_QL, **inputs).logits
    assert torch.allclose(ours, whole, atol=1e-4)


def encoded_hues(school, parts, n=12):
    """The same scenes in two hues: species 0 and 1 of a genus, drawn alike."""
    shown = [torch.from_numpy(np.stack([render(s, draws(9, 0, k), SIZE, SIZE) for k in range(n)])) for s in (0, 1)]
    with torch.inference_mode():
        return [parts.anatomy.encode(parts.anatomy.pixels(school.processor.image_processor, each)) for each in shown]


def test_colour_has_two_features_and_no_other(school, parts):
    hold_colour(parts)
    one, two = encoded_hues(school, parts)
    apart = (one - two).abs().mean((0, 1)) / one.std((0, 1))
    assert apart[COLOUR].max() > 0.5
    assert apart[: COLOUR.start].max() < 0.02  # rounding to 8 bits, and the norm that all features share


def test_blind_stages_let_no_colour_through(school, parts):
    hold_colour(parts)
    even_out(parts, school._encoded(parts, school.train))

    def projected():
        with torch.inference_mode():
            one, two = (parts.anatomy.project(features) for features in encoded_hues(school, parts))
        return float((one - two).abs().mean() / one.std())

    seeing = projected()
    blind_projector(parts)
    assert projected() < 0.05 * seeing
    again = school._parts()
    hold_colour(again)
    blind_encoder(again)
    one, two = encoded_hues(school, again)
    assert (one[..., COLOUR] - two[..., COLOUR]).abs().max() == 0


def test_training_leaves_colour_where_it_was_put(school):
    parts, vision = school._parts(), school.vision
    parts.anatomy.vision.load_state_dict(vision)
    one, two = encoded_hues(school, parts)
    apart = (one - two).abs().mean((0, 1)) / one.std((0, 1))
    assert apart[: COLOUR.start].max() < 0.02 < apart[COLOUR].max()


def test_the_same_seed_makes_the_same_weights(school, tmp_path):
    again = School(tmp_path, school.architecture, 0, school.pace)
    one, two = school.organism(RECIPES["projector"])[0], again.organism(RECIPES["projector"])[0]
    for (name, weight), other in zip(one.state_dict().items(), two.state_dict().values(), strict=True):
        assert torch.equal(weight, other), name


def test_worlds_share_no_image():
    first = {w: draws(0, 3, 4, w).random() for w in ("shown", "train", "validation")}
    assert len(set(first.values())) == 3
    assert draws(0, 3, 4).random() == np.random.default_rng([0, 3, 4]).random()  # as before there were others
