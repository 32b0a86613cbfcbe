"""`python -m taxonomy questions` and `python -m taxonomy bank`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from commandline import InputError
from taxonomy.images import ImageSet
from taxonomy.load import load_images, load_taxonomy
from taxonomy.questions import build, distractors
from taxonomy.questions.bank import Bank
from taxonomy.questions.check import bank_report, check
from taxonomy.questions.distractors import Rule
from taxonomy.questions.table import About
from taxonomy.tree import Taxonomy

if TYPE_CHECKING:
    from taxonomy.config import BankConfig, QuestionsConfig

SUFFIXES = (".parquet", ".jsonl", ".jsonl.gz")
SPLITS = ("train", "validation", "test")


def make_questions(config: QuestionsConfig) -> None:
    """Make a bank, write it, and say what is in it."""
    images = _images(config)
    taxonomy = images.taxonomy if images is not None else _taxonomy(config)
    name = config.name or (images.name if images is not None else Path(str(config.taxonomy)).name.split(".")[0])
    output = _output(config, name)
    about = About(name, taxonomy, _settings(config, images))
    subjects = build.of_leaves(taxonomy) if images is None else build.of_images(images)
    rule = _rule(config, taxonomy, images)
    with _bar(int(taxonomy.depths[subjects.leaf].sum())) as bar:
        asked = build.ask(about, subjects, rule, config.seed, finest=images is not None, advance=bar.update)
    build.write(asked, output, config.lower)
    bank = Bank.open(output, None if output.suffix == ".parquet" else taxonomy, name)
    print(f"{bank_report(bank, check(bank))}\n\n{output}")


def show_bank(config: BankConfig) -> None:
    """Check a bank, say what is in it, and write it in another form where asked to."""
    tree = _tuple(config.levels)
    taxonomy = load_taxonomy(config.taxonomy, tree, config.drop_root) if config.taxonomy else None
    output = Path(config.output) if config.output else None
    if output is not None:
        _check_output(output, config.overwrite)
    bank = Bank.open(config.bank, taxonomy)
    print(bank_report(bank, check(bank)))
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        bank.write(output)
        print(f"\n{output}")


def _images(config: QuestionsConfig) -> ImageSet | None:
    """The images to ask about; None for a bank of leaves."""
    if config.per == "leaf":
        if config.distractors == "similar" and config.similar_to == "image":
            raise InputError("a bank of leaves has no images to compare names with: take --similar_to=name")
        return None
    if config.images is None:
        raise InputError("name the images to ask about (--images), or ask about every leaf by name (--per=leaf)")
    splits = _tuple(config.splits) or SPLITS
    if not set(splits) <= set(SPLITS):
        raise InputError(f"--splits takes {', '.join(SPLITS)}, not {', '.join(splits)}")
    images = load_images(
        config.images,
        config.taxonomy,
        config.root,
        levels=_tuple(config.levels),
        image_column=config.image_column,
        label_column=config.label_column,
        split_column=config.split_column,
        id_column=config.id_column,
        split=config.split,
        fractions=config.fractions,
        seed=config.split_seed,
        unmatched=config.unmatched,
        missing="error" if _sees(config) else "ignore",
        drop_root=config.drop_root,
        subset=config.subset,
    )
    kept = images.select([name in splits for name in images.split])
    if not len(kept):
        raise InputError(f"none of the {len(images):,} images is in {', '.join(splits)}; choose others with --splits")
    return kept


def _taxonomy(config: QuestionsConfig) -> Taxonomy:
    if config.taxonomy is None:
        raise InputError("name the taxonomy whose leaves are asked about (--taxonomy)")
    return load_taxonomy(config.taxonomy, _tuple(config.levels), config.drop_root)


def _sees(config: QuestionsConfig) -> bool:
    return config.distractors == "similar" and config.similar_to == "image"


def _rule(config: QuestionsConfig, taxonomy: Taxonomy, images: ImageSet | None) -> Rule:
    if config.distractors == "random":
        return distractors.at_random(taxonomy)
    if config.distractors == "sibling":
        return distractors.nearest_in_tree(taxonomy)
    from taxonomy.questions import similar

    encoder = similar.load_encoder(config.encoder, config.device)
    template = config.template or (similar.PHOTO if encoder.sees else similar.BARE)
    if "{}" not in template:
        raise InputError(f"--template: {template!r} has no {{}} for the name to stand in")
    names = similar.shown_names(taxonomy, config.lower)
    if images is not None and _sees(config):
        return distractors.most_alike(taxonomy, similar.to_images(encoder, images, template, names))
    return distractors.most_alike(taxonomy, similar.to_names(encoder, template, names))


def _settings(config: QuestionsConfig, images: ImageSet | None) -> dict[str, Any]:
    """What a bank's rows depend on."""
    settings: dict[str, Any] = {"per": config.per, "distractors": config.distractors, "seed": config.seed}
    if config.distractors == "similar":
        settings |= {"similar_to": config.similar_to, "encoder": config.encoder, "template": config.template}
    if config.lower:
        settings["lower"] = True
    return settings | ({"images": images.fingerprint, "split": images.split_source} if images is not None else {})


def _output(config: QuestionsConfig, name: str) -> Path:
    kind = "" if config.per == "image" else "-leaves"
    output = Path(config.output or f"runs/{name}{kind}-{config.distractors}.parquet")
    _check_output(output, config.overwrite)
    if config.per == "leaf" and output.suffix != ".parquet":
        raise InputError(f"--output: {output}: the study's form has no place for a bank of leaves; name a .parquet")
    return output


def _check_output(output: Path, overwrite: bool) -> None:
    if not output.name.endswith(SUFFIXES):
        raise InputError(f"--output: {output} should end in {', '.join(SUFFIXES)}")
    if output.exists() and not overwrite:
        raise InputError(f"{output} is there already; choose another --output, or replace it with --overwrite=true")


def _tuple(names: str | list[str] | None) -> tuple[str, ...] | None:
    return tuple([names] if isinstance(names, str) else names) if names else None


def _bar(total: int) -> Any:
    from tqdm import tqdm

    return tqdm(total=total, desc="questions drawn", unit="question", unit_scale=True)
