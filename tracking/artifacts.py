"""Files as artifacts of wandb: small results whole, stores by their manifest."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tracking.record import Files
from tracking.secrets import Scrubber

if TYPE_CHECKING:
    import wandb

MOST_BYTES = 64 << 20
"""Of files that are uploaded without being asked for."""
READABLE = {".json", ".jsonl", ".html", ".svg", ".md", ".csv", ".txt", ".yaml", ".yml"}
"""Files whose text is scrubbed on the way."""


def artifact(files: Files, scrub: Scrubber, upload: bool) -> wandb.Artifact:
    """The artifact, not yet logged. Its version depends on contents alone, not on where they lie."""
    import wandb

    found = [(scrub.text(name), path) for name, path in _inside(files.paths)]
    size = sum(path.stat().st_size for _, path in found)
    whole = upload or not (files.large or size > MOST_BYTES)
    about = {**files.about, "files": len(found), "bytes": size, "uploaded": whole}
    made = wandb.Artifact(_name(scrub.text(files.name)), files.kind, metadata=scrub.values(about))
    if files.identity or not whole:
        identity = files.identity or {name: path.stat().st_size for name, path in found}
        with made.new_file("manifest.json", encoding="utf-8") as file:
            json.dump(scrub.values(identity), file, indent=1, sort_keys=True, ensure_ascii=False)
    for name, path in found if whole else ():
        text = path.read_text(encoding="utf-8") if path.suffix in READABLE else ""
        if (clean := scrub.text(text)) != text:
            with made.new_file(name, encoding="utf-8") as file:
                file.write(clean)
        else:
            made.add_file(str(path), name)
    return made


def _inside(paths: tuple[Path, ...]) -> Iterator[tuple[str, Path]]:
    """(name in the artifact, file), in order, those in folders too."""
    for path in paths:
        if path.is_dir():
            yield from (
                (str(file.relative_to(path.parent)), file) for file in sorted(path.rglob("*")) if file.is_file()
            )
        elif path.is_file():
            yield path.name, path


def _name(text: str) -> str:
    return re.sub(r"[^\w.-]+", "_", text)[:128]
