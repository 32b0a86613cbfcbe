"""Encoders: equal to the model called by hand, one text at a time; similar distractors from end to end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from commandline import InputError, main
from taxonomy.__main__ import COMMANDS
from taxonomy.load import load_images
from taxonomy.names import normalise
from taxonomy.questions import Bank
from taxonomy.questions.similar import Encoder, load_encoder, to_images, to_names
from tests.taxonomy.questions.trees import AWKWARD

WORDS = ["a photo of a cat.", "tabby", "a very long name of a very small bird", "D"]


def tokenizer(folder: Path) -> Any:
    """A byte-level tokenizer of 256 tokens and three special ones, saved into `folder`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {byte: index for index, byte in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    vocabulary |= {"<s>": 256, "<pad>": 257, "</s>": 258}
    made = Tokenizer(models.BPE(vocabulary, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 256), ("</s>", 258)]
    )
    saved = PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    saved.save_pretrained(folder)
    return saved


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Untrained checkpoints: `siglip`, `clip` and `bert`."""
    import transformers as tr

    root = tmp_path_factory.mktemp("encoders")
    size: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }
    text: Any = size | {"vocab_size": 259, "max_position_embeddings": 64, "bos_token_id": 256, "eos_token_id": 258}
    eye: Any = size | {"image_size": 28, "patch_size": 14}
    torch.manual_seed(0)
    models = {
        "siglip": tr.SiglipModel(tr.SiglipConfig(text_config=text | {"projection_size": 32}, vision_config=eye)),
        "clip": tr.CLIPModel(tr.CLIPConfig(text_config=text, vision_config=eye, projection_dim=16)),
        "bert": tr.BertModel(tr.BertConfig(**text, pad_token_id=257)),
    }
    for name, model in models.items():
        model.save_pretrained(root / name)
        tokenizer(root / name)
        if name != "bert":
            square = {"height": 28, "width": 28}
            tr.CLIPImageProcessor(size={"shortest_edge": 28}, crop_size=square).save_pretrained(root / name)
    return {name: root / name for name in models}


def unit(vectors: torch.Tensor) -> np.ndarray:
    return (vectors / vectors.norm(dim=-1, keepdim=True)).detach().numpy()


def test_clip_is_what_the_model_says_one_by_one(encoders: dict[str, Path]) -> None:
    encoder = load_encoder(str(encoders["clip"]))
    model, tokens = encoder.model, encoder.tokenizer
    expected = [
        unit(
            model(
                input_ids=tokens(w, return_tensors="pt").input_ids, pixel_values=torch.zeros(1, 3, 28, 28)
            ).text_embeds
        )[0]
        for w in WORDS
    ]
    np.testing.assert_allclose(encoder.encode_texts(WORDS), expected, atol=1e-5)
    images = [
        Image.fromarray(np.random.default_rng(k).integers(256, size=(40, 30 + k, 3), dtype=np.uint8)) for k in (0, 1)
    ]
    for image, vector in zip(images, encoder.encode_images(images), strict=True):
        pixels = encoder.images_to_pixels(images=image, return_tensors="pt").pixel_values
        np.testing.assert_allclose(
            vector, unit(model(input_ids=torch.tensor([[258]]), pixel_values=pixels).image_embeds)[0], atol=1e-5
        )


def test_siglip_reads_its_own_padding(encoders: dict[str, Path]) -> None:
    encoder = load_encoder(str(encoders["siglip"]))
    found = encoder.encode_texts(WORDS)
    for word, vector in zip(WORDS, found, strict=True):
        ids = encoder.tokenizer(word).input_ids
        padded = torch.tensor([ids + [257] * (64 - len(ids))])  # to the length it was trained on, no mask
        np.testing.assert_allclose(vector, unit(encoder.model.get_text_features(padded).pooler_output)[0], atol=1e-5)
        short = unit(encoder.model.get_text_features(torch.tensor([ids])).pooler_output)[0]
        assert abs(vector - short).max() > 1e-3


@pytest.mark.parametrize("pooling", ["mean", "cls", "lasttoken", "max", None])
def test_a_sentence_encoder_pools_as_it_says(encoders: dict[str, Path], tmp_path: Path, pooling: str | None) -> None:
    folder = tmp_path / "bert"
    folder.mkdir()
    for file in encoders["bert"].iterdir():
        (folder / file.name).symlink_to(file)
    if pooling:
        kinds = {"mean": "mean_tokens", "cls": "cls_token", "max": "max_tokens", "lasttoken": "lasttoken"}
        (folder / "1_Pooling").mkdir()
        settings = {"word_embedding_dimension": 32} | {
            f"pooling_mode_{kind}": kind == kinds[pooling] for kind in kinds.values()
        }
        (folder / "1_Pooling" / "config.json").write_text(json.dumps(settings))
    encoder = load_encoder(str(folder))
    for word, vector in zip(WORDS, encoder.encode_texts(WORDS), strict=True):
        states = encoder.model(torch.tensor([encoder.tokenizer(word).input_ids])).last_hidden_state[0]
        expected = {"mean": states.mean(0), "cls": states[0], "lasttoken": states[-1], "max": states.max(0).values}
        np.testing.assert_allclose(vector, unit(expected[pooling or "mean"]), atol=1e-5)


def test_an_encoder_with_more_to_it_is_refused(encoders: dict[str, Path], tmp_path: Path) -> None:
    for file in encoders["bert"].iterdir():
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / "modules.json").write_text(json.dumps([{"type": "sentence_transformers.models.Dense"}]))
    with pytest.raises(InputError, match="has Dense after its pooling"):
        load_encoder(str(tmp_path))
    (tmp_path / "modules.json").unlink()
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text('{"pooling_mode_weightedmean_tokens": true}')
    with pytest.raises(InputError, match="in a way not known here"):
        load_encoder(str(tmp_path))


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """A manifest of two noise images of each leaf."""
    rows = []
    for k in range(2 * len(AWKWARD)):
        pixels = np.random.default_rng(k).integers(256, size=(32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{k}.png")
        rows.append({"image": f"{k}.png", "label": AWKWARD.leaves[k % len(AWKWARD)]})
    AWKWARD.to_json(tmp_path / "taxonomy.json")
    (tmp_path / "noise.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "noise.jsonl"


def run(*argv: object) -> int:
    return main("python -m taxonomy", COMMANDS, argv=[str(arg) for arg in argv])


def expected_wrong(encoder: Encoder, query: np.ndarray, level: str, truth: int, template: str) -> set[str]:
    """The three names most alike, the names put one by one."""
    names = AWKWARD.names(level)
    likeness = {}
    for name in names:
        if normalise(name) != normalise(names[truth]):
            likeness.setdefault(normalise(name), float(query @ encoder.encode_texts([template.format(name)])[0]))
    return set(sorted(likeness, key=lambda name: -likeness[name])[:3])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "to"), [("siglip", "image"), ("clip", "name"), ("bert", "name")])
def test_the_most_similar_are_offered(encoders: dict[str, Path], photographs: Path, name: str, to: str) -> None:
    output = photographs.parent / "bank.parquet"
    how = ["--distractors", "similar", "--encoder", encoders[name], "--similar_to", to, "--device", "cpu"]
    assert run("questions", "--images", photographs, "--output", output, *how) == 0
    encoder = load_encoder(str(encoders[name]))
    template = "a photo of a {}." if encoder.sees else "{}"
    for asked in Bank.open(output).questions():
        image = Image.open(photographs.parent / asked.image).convert("RGB")
        right = asked.options[asked.answer]
        query = (
            encoder.encode_images([image])[0] if to == "image" else encoder.encode_texts([template.format(right)])[0]
        )
        wrong = {normalise(option) for option in asked.options} - {normalise(right)}
        assert wrong == expected_wrong(encoder, query, asked.level, asked.nodes[asked.answer], template)


def test_images_that_cannot_be_compared(encoders: dict[str, Path], photographs: Path) -> None:
    images = load_images(photographs)
    names = [list(AWKWARD.names(level)) for level in AWKWARD.levels]
    with pytest.raises(InputError, match="encodes no images; compare names with --similar_to=name"):
        to_images(load_encoder(str(encoders["bert"])), images, "{}", names)
    (photographs.parent / "3.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"'3\.png' cannot be read"):
        to_images(load_encoder(str(encoders["clip"])), images, "{}", names)


def test_a_template_without_a_place_for_the_name(
    encoders: dict[str, Path], photographs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    how = ["--distractors", "similar", "--encoder", encoders["clip"], "--template", "a photo"]
    assert run("questions", "--images", photographs, *how) == 2
    assert "has no {} for the name" in capsys.readouterr().err


def test_a_name_with_braces_is_put_as_it_is(encoders: dict[str, Path]) -> None:
    encoder = load_encoder(str(encoders["clip"]))
    similarity = to_names(encoder, "a photo of a {}.", [["{level}", "{}"]])
    texts = encoder.encode_texts(["a photo of a {level}.", "a photo of a {}."])
    np.testing.assert_allclose(similarity(0, 0, np.arange(3)), texts[:1] @ texts.T, atol=1e-6)
