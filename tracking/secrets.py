"""What must not leave: keys and passwords in anything that is logged."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

HIDDEN = "***"
SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL|(?<![A-Z])AUTH(?![A-Z])", re.IGNORECASE)
"""Environment variables whose values are taken for secrets."""
SHORTEST = 8
"""Letters from which on such a value is looked for: `true` and `1` are none."""
FORMS = (
    (re.compile(r"(?<=://)[^/\s@\"'<>]+(?=@)"), HIDDEN),  # https://user:password@host
    (
        re.compile(r"([?&][\w.-]*(?:key|token|secret|passw|auth|sig|credential)[\w.-]*=)[^&#\s\"'<>]+", re.IGNORECASE),
        rf"\g<1>{HIDDEN}",
    ),
    (re.compile(r"\b(?:sk-|hf_|gh[pousr]_|github_pat_|glpat-|xox[abprs]-|AKIA|AIza)[\w-]{12,}"), HIDDEN),
    (re.compile(r"\b(Bearer|Basic) +[\w.~+/-]{8,}=*"), rf"\g<1> {HIDDEN}"),
)
"""What looks like one: passwords in addresses; tokens of OpenAI, Hugging Face, GitHub, GitLab, Slack, AWS, Google."""


class Scrubber:
    """Puts `***` in the place of secrets."""

    def __init__(self, environment: Mapping[str, str] = os.environ, variables: Sequence[str] = ()) -> None:
        """variables: of the environment, that hold secrets whatever their names say."""
        found = {
            value
            for name, value in environment.items()
            if (name in variables and value) or (SECRET_NAME.search(name) and len(value) >= SHORTEST)
        }
        self._known = sorted(found, key=len, reverse=True)

    def text(self, text: str) -> str:
        for value in self._known:
            text = text.replace(value, HIDDEN)
        for form, instead in FORMS:
            text = form.sub(instead, text)
        return text

    def values(self, values: Any) -> Any:
        """The same dictionaries, lists and scalars, every string in them scrubbed."""
        if isinstance(values, str):
            return self.text(values)
        if isinstance(values, Mapping):
            return {self.text(str(key)): self.values(value) for key, value in values.items()}
        if isinstance(values, (list, tuple)):
            return [self.values(value) for value in values]
        return values
