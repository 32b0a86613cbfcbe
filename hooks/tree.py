"""A model's modules as a tree with the sites hung in their places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import nn

from hooks.sites import Site, SiteMap
from hooks.table import aligned


@dataclass
class _Node:
    """A module that is drawn: on the way to a site, or beside such a one."""

    name: str
    path: str
    kind: str
    children: list[_Node] = field(default_factory=list)
    sites: list[Site] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def like(self, other: _Node) -> bool:
        """Whether two neighbours can be drawn as one: same class, the same kind of sites, nothing inside."""
        marks = [[(site.stage, site.reads, site.layer is None) for site in node.sites] for node in (self, other)]
        bare = not (self.children or other.children or self.notes or other.notes)
        return bare and self.name.isdigit() and self.kind == other.kind and marks[0] == marks[1]


def site_tree(model: nn.Module, sites: SiteMap) -> str:
    """The modules that lead to sites, with what stands beside them; `in` and `out` say which end of a module is read.

    Runs of equal blocks are drawn once: `0 … 27  DecoderLayer × 28   in llm.0 … llm.27`.
    """
    notes = _notes(sites)
    shown = {site.module for site in sites.values()} | notes.keys()
    root = _node("", type(model).__name__, model, shown, sites, notes)
    rows: list[list[str]] = []
    _draw([root], "", rows, root=True)
    return "\n".join(aligned(rows))


def _notes(sites: SiteMap) -> dict[str, list[str]]:
    notes: dict[str, list[str]] = {}
    if sites.projector_module:
        notes.setdefault(sites.projector_module, []).append("makes the rows at projector")
    for module in dict.fromkeys(sites.added.values()):
        places = ", ".join(site for site, adder in sites.added.items() if adder == module)
        notes.setdefault(module, []).append(f"added at {places}")
    if sites.head:
        notes.setdefault(sites.head, []).append("unembedding")
    return notes


def _node(
    path: str, name: str, module: nn.Module, shown: set[str], sites: SiteMap, notes: dict[str, list[str]]
) -> _Node:
    hung = [site for site in sites.values() if site.module == path]
    node = _Node(name, path, type(module).__name__, sites=hung, notes=notes.get(path, []))
    prefix = f"{path}." if path else ""
    if any(one.startswith(prefix) and one != path for one in shown):
        node.children = [
            _node(f"{prefix}{child}", child, part, shown, sites, notes) for child, part in module.named_children()
        ]
    return node


def _draw(nodes: Sequence[_Node], indent: str, rows: list[list[str]], root: bool = False) -> None:
    runs: list[list[_Node]] = []
    for node in nodes:
        if runs and runs[-1][-1].like(node):
            runs[-1].append(node)
        else:
            runs.append([node])
    for place, run in enumerate(runs):
        last = place == len(runs) - 1
        branch = "" if root else "└─ " if last else "├─ "
        first, final = run[0], run[-1]
        name = first.name if len(run) == 1 else f"{first.name} … {final.name}"
        kind = "" if root else first.kind if len(run) == 1 else f"{first.kind} × {len(run)}"
        rows.append([f"{indent}{branch}{name}", kind, ", ".join([*_marks(run), *first.notes])])
        _draw(first.children, indent + ("" if root else "   " if last else "│  "), rows)


def _marks(run: Sequence[_Node]) -> list[str]:
    """`in llm.0 … llm.27`: what hangs on a run of blocks, position by position."""
    marks = []
    for first, last in zip(run[0].sites, run[-1].sites, strict=True):
        names = first.name if len(run) == 1 else f"{first.name} … {last.name}"
        marks.append(f"{'in' if first.reads == 'input' else 'out'} {names}")
    return marks
