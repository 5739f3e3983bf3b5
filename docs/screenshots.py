"""Takes pictures of the site and of what notebooks show, in headless Chromium, to be looked at: `make screenshots`.

python docs/screenshots.py [FOLDER]          # build/screenshots
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import multiparam as mp

ROOT = Path(__file__).parents[1]
SITE = ROOT / "build" / "site"
BROWSERS = ("chromium", "google-chrome", "chromium-browser")
# nothing but a page: no first-run pages, no updates, no network
QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
PAGES = {
    "index": "index.html",
    "side_by_side": "side_by_side.html",
    "how_to": "how_to/port_a_model.html",
    "reference": "reference/access.html",
    "command_line": "command_line.html",
    "defaults": "defaults.html",
    "layers": "layers.html",
    "parity": "parity.html",
    "benchmarks": "benchmarks.html",
    "when_not": "when_not.html",
}
SIZES = {"wide": (1280, 1600), "narrow": (500, 1600)}  # Chromium's windows are not narrower than 500
PHONE = 390


def main() -> int:
    """Takes all of them; 1 without a browser or a site."""
    into = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "screenshots"
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        sys.stderr.write(f"none of {', '.join(BROWSERS)} is on PATH: install one, `apt-get install chromium` say\n")
        return 1
    if not (SITE / "index.html").exists():
        sys.stderr.write("there is no site yet: make docs\n")
        return 1
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, page in [*representations(Path(folder)), *((name, SITE / path) for name, path in PAGES.items())]:
            for theme in ("light", "dark"):
                shot(browser, page, into / f"{name}-{theme}.png", theme, *SIZES["wide"])
            phone = Path(folder) / f"{name}-phone.html"
            frame = f'<iframe src="{page.resolve().as_uri()}" width="{PHONE}" height="1590" frameborder="0"></iframe>'
            phone.write_text(f'<body style="margin:0">{frame}</body>', "utf-8")
            shot(browser, phone, into / f"{name}-phone.png", "light", *SIZES["narrow"])
    sys.stdout.write(f"{len(list(into.glob('*.png')))} pictures in {into}\n")
    return 0


def shot(browser: str, page: Path, into: Path, theme: str, width: int, height: int) -> None:
    """Takes one picture of a page."""
    scheme = f"--blink-settings=preferredColorScheme={0 if theme == 'dark' else 1}"
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(
            [
                browser,
                *QUIET,
                scheme,
                "--allow-file-access-from-files",
                f"--user-data-dir={profile}",
                f"--screenshot={into}",
                f"--window-size={width},{height}",
                "--virtual-time-budget=3000",
                page.resolve().as_uri(),
            ],
            check=True,
            capture_output=True,
            timeout=3600,
        )


def representations(folder: Path) -> Iterator[tuple[str, Path]]:
    """Pages with what notebooks show of models, parameters, files and reports."""
    shared = mp.nn.Linear(8, 8)
    net = mp.nn.Sequential(mp.nn.Linear(4, 8), mp.nn.ReLU(), shared, mp.nn.ReLU(), shared, mp.nn.Linear(8, 1))
    other = mp.nn.Sequential(mp.nn.Linear(4, 8), mp.nn.ReLU(), mp.nn.Linear(8, 8), mp.nn.ReLU(), mp.nn.Linear(8, 8))
    initialized = mp.initialize(net, mp.init.XavierUniform(), seed=0)
    path = folder / "net.safetensors"
    mp.save(net, path)
    params = mp.parameters(net)
    before = mp.open(path)
    loaded = mp.load(path, into=net)
    params["0.weight"][:] += 0.1
    params["0.bias"].trainable = False
    x = np.ones((2, 4), np.float32)
    clone = mp.nn.Sequential(
        mp.nn.Linear(4, 8), mp.nn.ReLU(), mp.nn.Linear(8, 8), mp.nn.ReLU(), mp.nn.Linear(8, 8), mp.nn.Linear(8, 1)
    )
    tying = mp.load(path, into=clone)
    shown = {
        "summary": mp.summary(net),
        "parameter": params["0.weight"],
        "parameters": params,
        "selection": params.select("*.weight"),
        "diff": mp.diff(net, before),
        "diff-of-others": mp.diff(net, other),
        "verify": mp.verify(net, clone, x),
        "initialization": initialized,
        "load": loaded,
        "load-that-ties": tying,
        "tie": mp.untie(clone, "4"),
        "checkpoint": before,
    }
    for name, one in shown.items():
        page = folder / f"{name}.html"
        scheme = '<meta name="color-scheme" content="light dark"><meta charset="utf-8">'
        page.write_text(f"<!doctype html>{scheme}<body>{one._repr_html_()}</body>", "utf-8")
        yield f"notebook-{name}", page


if __name__ == "__main__":
    sys.exit(main())
