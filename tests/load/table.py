"""The bench's table: a figure a line, with its budget, Postfix's figure in the same run, their ratio and the verdict."""

import os
import platform
from dataclasses import dataclass

WIDTHS = (41, 10, 20, 10, 8, 0)


@dataclass
class Row:
    """One figure. The budget is either an absolute `limit` or a `factor` of Postfix's: (">=" or "<=", number)."""

    name: str
    unit: str
    figures: dict
    limit: tuple = None
    factor: tuple = None
    digits: int = 2
    note: str = ""

    def text(self, figure):
        if figure is None:
            return "-"
        return f"{figure:,.0f}" if figure >= 100 else f"{figure:.{self.digits}f}"

    def budget(self):
        if self.limit:
            return f"{self.limit[0]} {self.note or self.text(self.limit[1])}"
        if self.factor:
            return f"{self.factor[0]} {self.factor[1]:g} x Postfix"
        return ""

    def ratio(self):
        ours, theirs = self.figures.get("facteur"), self.figures.get("Postfix")
        return ours / theirs if ours is not None and theirs else None

    def verdict(self):
        if self.limit:
            (sign, bound), figure = self.limit, self.figures.get("facteur")
        elif self.factor:
            (sign, bound), figure = self.factor, self.ratio()
        else:
            return ""
        if figure is None:
            return "-"
        return "ok" if (figure >= bound if sign == ">=" else figure <= bound) else "MISS"


class Table:
    def head(self):
        with open("/proc/loadavg") as load:
            busy = load.read().split()[0]
        print(f"{os.cpu_count()} cores, {platform.machine()}, Linux {platform.release()}, load {busy} at the start")
        self.write("figure", "facteur", "budget", "Postfix", "ratio", "")

    def line(self, row):
        facteur, postfix = (row.text(row.figures.get(name)) for name in ("facteur", "Postfix"))
        ratio = row.ratio()
        self.write(
            f"{row.name} ({row.unit})", facteur, row.budget(), postfix, "-" if ratio is None else f"{ratio:.3g}", row.verdict()
        )

    def foot(self):
        print("Messages of 4 KiB, plain; smtp-source -d, the relay and smtp-sink on the same cores. Medians of the rounds.")

    def write(self, *cells):
        print("".join(f"{cell:<{width}}" for cell, width in zip(cells, WIDTHS)).rstrip(), flush=True)
