"""Question banks: level-by-level multiple-choice questions about images, and the prompts that put them.

    from taxonomy.questions import Bank, prompts, render

`python -m taxonomy questions` makes a bank, `python -m taxonomy bank` checks and converts one.
"""

from taxonomy.questions.bank import Bank
from taxonomy.questions.prompts import Prompt, prompts, render, system_turn
from taxonomy.questions.question import Question

__all__ = ["Bank", "Prompt", "Question", "prompts", "render", "system_turn"]
