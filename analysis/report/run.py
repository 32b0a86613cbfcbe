"""`python -m analysis report`: a probe run, and what lies beside it, as one HTML file that needs nothing beside it."""

from __future__ import annotations

from pathlib import Path

from analysis.config import ReportConfig
from analysis.report.material import gather
from analysis.report.page import Page, compose
from analysis.tracked import report_of
from commandline import InputError
from probing.results import ProbeRun
from tracking import track

FIGURES = "figures"


def run(config: ReportConfig) -> None:
    """Write the page and its figures, and say where. Raises InputError."""
    probes = ProbeRun.open(config.run)
    sites = [record["site"] for record in probes.hca]
    if config.site and config.site not in sites:
        raise InputError(f"--site {config.site}: {probes.path} has no such site; it has {', '.join(sites)}")
    if config.photos and not config.photos.is_dir():
        raise InputError(f"--photos {config.photos}: no folder there")
    out = Path(config.out) if config.out else probes.path / "report.html"
    material = gather(probes, leaf=config.leaf, images=config.images, names=config.names, photos=config.photos)
    page = compose(material, config.site)
    write(page, out, figures=config.figures)
    beside = f"; {len(page.drawings)} figures as SVG and PNG in {out.parent / FIGURES}" if config.figures else ""
    print(f"{out}: {len(page.html.encode()) / 1e3:,.0f} kB, one file{beside}")
    track(config.wandb, lambda: report_of(config, material, out))


def write(page: Page, out: Path, *, figures: bool) -> None:
    """The page whole or not at all, after its figures. Raises InputError where it cannot be written."""
    beside = out.with_name(out.name + ".new")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if figures:
            folder = out.parent / FIGURES
            folder.mkdir(exist_ok=True)
            for drawing in page.drawings:
                drawing.write(folder)
        beside.write_text(page.html, encoding="utf-8")
        beside.replace(out)
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror}; give another --out") from error


def render(probes: ProbeRun) -> str:
    """The report as HTML."""
    return compose(gather(probes)).html
