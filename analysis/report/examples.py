"""Test images with what probes and the model itself say of them, down the path."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analysis.report.material import Material

EACH = 2
"""Images per kind: right throughout, and first wrong at each level."""
MOST = 12
SIDE = 132
"""Pixels of a thumbnail's longer side."""
LARGEST = 60_000_000
"""Pixels of an image that is opened for one."""


@dataclass(frozen=True)
class Step:
    """A level of an image's path. `None`: not asked, or the reply could not be read."""

    level: str
    truth: str
    probe: str
    probe_right: bool
    answer: str | None
    answer_right: bool


@dataclass(frozen=True)
class Example:
    id: str
    kind: str
    """`every level right`, or the first level that is wrong."""
    steps: tuple[Step, ...]
    picture: str | None
    """A data: link, None where the image was not found."""


def examples(material: Material, site: str, seed: int) -> list[Example]:
    """Drawn at random, `EACH` of every kind: by the model's answers where there are some, else by probes of `site`."""
    readings = material.readings
    said = replies(material)
    right = readings.at(site) == readings.truth
    if said:
        answered = np.array(
            [[said.get((name, level), ("", False))[1] for level in readings.levels] for name in readings.ids]
        )
        asked = np.array([any((name, level) in said for level in readings.levels) for name in readings.ids])
        right, rows = answered, np.flatnonzero(asked)
    else:
        rows = np.arange(len(readings.ids))
    wrong = (~right) & (readings.truth >= 0)
    if said:
        wrong &= np.array([[(name, level) in said for level in readings.levels] for name in readings.ids])
    first = np.where(wrong.any(1), wrong.argmax(1), len(readings.levels))
    rng = np.random.default_rng(seed)
    found = []
    for kind in (len(readings.levels), *range(len(readings.levels))):
        these = rows[first[rows] == kind]
        chosen = np.sort(rng.permutation(these)[:EACH])
        name = "every level right" if kind == len(readings.levels) else f"first wrong at {readings.levels[kind]}"
        found += [_example(material, int(row), name, site, said) for row in chosen]
    return found[:MOST]


def replies(material: Material) -> dict[tuple[str, str], tuple[str, bool]]:
    """(image, level) -> the option that the model named and whether it is right; of the first prompt."""
    import pyarrow.parquet as pq

    if material.images is None:
        return {}
    run = material.images
    file = run.path / "strict_v1" / "parsed.parquet"
    if not file.is_file():
        return {}
    prompt = next(iter(run.settings["prompts"]))
    asked = run.answers()
    options = {
        (image, level): (words, answer)
        for image, level, words, answer in zip(
            *(asked[name].to_pylist() for name in ("image", "level", "options", "answer")), strict=True
        )
    }
    found = {}
    for row in pq.read_table(file).to_pylist():
        key = (row["id"], row["level"])
        if row["prompt"] != prompt or row["rotation"] != 0 or key not in options:
            continue
        words, answer = options[key]
        option = row["option"]
        read = option is not None and 0 <= option < len(words)
        found[key] = (words[option], option == answer) if read else ("(not read)", False)
    return found


def _example(
    material: Material, row: int, kind: str, site: str, said: dict[tuple[str, str], tuple[str, bool]]
) -> Example:
    readings = material.readings
    name = readings.ids[row]
    steps = []
    for column, level in enumerate(readings.levels):
        truth, probe = int(readings.truth[row, column]), int(readings.at(site)[row, column])
        if truth < 0:
            continue
        answer, right = said.get((name, level), (None, False))
        steps.append(Step(level, readings.name(truth), readings.name(probe), truth == probe, answer, right))
    return Example(name, kind, tuple(steps), thumbnail(material.photos, name))


def thumbnail(folder: Path | None, name: str) -> str | None:
    """A small JPEG of an image, as a data: link; None where it is not to be had. Nothing outside the folder is read."""
    from PIL import Image, ImageOps

    if folder is None:
        return None
    root = folder.resolve()
    path = (root / name).resolve()
    if not path.is_relative_to(root) or not path.is_file():
        return None
    try:
        with Image.open(path) as image:
            if image.width * image.height > LARGEST:
                return None
            small = ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError):
        return None
    small.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
