"""Medians, ratios with spread, the table, JSON and plots."""
import json
import os
import statistics
import subprocess


class Figures:
    """Samples by figure and system, a sample a round; smaller is better unless the unit is a rate."""

    def __init__(self):
        self.samples, self.units, self.notes = {}, {}, []

    def add(self, figure, unit, system, value):
        self.units[figure] = unit
        self.samples.setdefault(figure, {}).setdefault(system, []).append(value)

    def ratio(self, figure, a, b):
        """Of medians; the spread is the least and greatest ratio of the two within one round."""
        mine, other = self.samples[figure][a], self.samples[figure][b]
        rounds = [x / y for x, y in zip(mine, other) if y > 0]
        below = statistics.median(other)
        if below <= 0 or not rounds:
            return None
        return statistics.median(mine) / below, min(rounds), max(rounds)

    def lines(self):
        """One a figure and peer; the first system that has the figure is compared with each other one."""
        for figure, systems in self.samples.items():
            unit = self.units[figure]
            first, *others = systems
            text = "%s: %s %s %s" % (figure, first, number(statistics.median(systems[first])), unit)
            for other in others:
                ratio = self.ratio(figure, first, other)
                spread = "ratio %.2f (spread %.2f-%.2f)" % ratio if ratio else "no ratio"
                yield "%s, %s %s %s, %s" % (text, other, number(statistics.median(systems[other])), unit, spread)
            if not others:
                yield text

    def table(self):
        names = list(dict.fromkeys(name for systems in self.samples.values() for name in systems))
        rows = [["median of rounds", "unit"] + names]
        for figure, systems in self.samples.items():
            cells = [number(statistics.median(systems[n])) if n in systems else "-" for n in names]
            rows.append([figure, self.units[figure]] + cells)
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        return "\n".join("  ".join(cell.ljust(w) if i < 2 else cell.rjust(w)
                                   for i, (cell, w) in enumerate(zip(row, widths))).rstrip() for row in rows)


def number(value):
    return "%.0f" % value if abs(value) >= 1000 else "%.3g" % value


def write(figures, folder):
    """figures.json, report.txt, and one bar chart with spread a figure."""
    os.makedirs(folder, exist_ok=True)
    for old in os.listdir(folder):
        if old.endswith(".svg"):
            os.remove(os.path.join(folder, old))
    with open(os.path.join(folder, "figures.json"), "w") as f:
        json.dump({"notes": figures.notes, "units": figures.units, "samples": figures.samples,
                   "lines": list(figures.lines())}, f, indent=1)
    with open(os.path.join(folder, "report.txt"), "w") as f:
        f.write("\n\n".join(["\n".join(figures.notes), figures.table(), "\n".join(figures.lines())]) + "\n")
    script = "".join(plot(figures, figure, folder) for figure in figures.samples)
    subprocess.run(["gnuplot"], input=script, text=True, timeout=60, check=False)


def plot(figures, figure, folder):
    rows = ["%d %r %r %r \"%s\"" % (i, statistics.median(v), min(v), max(v), name)
            for i, (name, v) in enumerate(figures.samples[figure].items())]
    file = os.path.join(folder, figure.lower().replace(" ", "-") + ".svg")
    return ("$data << END\n%s\nEND\nset terminal svg size 480,320 noenhanced\nset output '%s'\nset title '%s'\n"
            "set ylabel '%s'\nset yrange [0:*]\nset xrange [-0.6:%g]\nset style fill solid 0.5\nset boxwidth 0.6\n"
            "set key off\nset xtics rotate by -20\n"
            "plot $data using 1:2:xtic(5) with boxes, $data using 1:2:3:4 with yerrorbars lc rgb 'black' pt 0\n"
            % ("\n".join(rows), file, figure, figures.units[figure], len(rows) - 0.4))
