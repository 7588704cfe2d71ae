"""Draw the rooms of the package and the way the data take: docs/_static/house.svg.

python scripts/draw_house.py
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.patches import FancyBboxPatch

TARGET = Path(__file__).resolve().parents[1] / "docs" / "_static" / "house.svg"
WIDTH, HEIGHT = 2.2, 0.9
INNER, OUTER, DATA = "#dbe7f3", "#fbe5d0", "#eeeeee"
# Name, what happens there, x, y, colour.
ROOMS = [
    ("AnnData", "counts, .obs", 0, 3, DATA),
    ("data", "fields, checks, keys", 3, 3, INNER),
    ("likelihood", "Σ φ log p(y | z, k)", 0, 1.5, INNER),
    ("module", "encoder, bases, ELBO", 3, 1.5, INNER),
    ("inference", "start, search, training", 6, 1.5, INNER),
    ("model", "BasisVAE", 6, 3, INNER),
    ("AnnData ", "obsm, var, varm, uns", 9, 3, DATA),
    ("get", "tables", 12, 3, OUTER),
    ("tl", "one call, timing", 9, 1.5, OUTER),
    ("pl", "figures", 12, 1.5, OUTER),
    ("report", "one HTML file", 15, 3, OUTER),
    ("cli", "basisvae-scvi …", 15, 1.5, OUTER),
    ("datasets", "simulators, marrow", 0, 4.5, OUTER),
]
ARROWS = [
    ("datasets", "AnnData"),
    ("AnnData", "data"),
    ("data", "model"),
    ("likelihood", "module"),
    ("module", "inference"),
    ("inference", "model"),
    ("model", "AnnData "),
    ("AnnData ", "get"),
    ("get", "report"),
    ("get", "pl"),
    ("get", "tl"),
    ("pl", "report"),
    ("report", "cli"),
]


def main() -> None:
    """Boxes, then arrows from rim to rim."""
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "house", "font.size": 9})
    fig, ax = plt.subplots(figsize=(10.5, 3.6))
    patches = {}
    for name, what, x, y, color in ROOMS:
        box = FancyBboxPatch(
            (x, y), WIDTH, HEIGHT, boxstyle="round,pad=0.05,rounding_size=0.12", fc=color, ec="0.4"
        )
        patches[name] = ax.add_patch(box)
        ax.text(x + WIDTH / 2, y + 0.6, name.strip(), ha="center", va="center", weight="bold")
        ax.text(x + WIDTH / 2, y + 0.25, what, ha="center", va="center", fontsize=6.5)
    for start, end in ARROWS:
        (xa, ya), (xb, yb) = (
            next((x + WIDTH / 2, y + HEIGHT / 2) for n, _, x, y, _ in ROOMS if n == name)
            for name in (start, end)
        )
        ax.annotate(
            "",
            xy=(xb, yb),
            xytext=(xa, ya),
            arrowprops={
                "arrowstyle": "-|>",
                "color": "0.3",
                "shrinkA": 0,
                "shrinkB": 0,
                "patchA": patches[start],
                "patchB": patches[end],
            },
        )
    ax.set(xlim=(-0.2, 17.4), ylim=(1.3, 5.6))
    ax.set_axis_off()
    TARGET.parent.mkdir(exist_ok=True)
    fig.savefig(TARGET, bbox_inches="tight", metadata={"Date": None})


if __name__ == "__main__":
    main()
