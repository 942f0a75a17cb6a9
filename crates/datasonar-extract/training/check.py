"""Says how far the extractor's scores are from what the tables say by `train.py`: `check.py VIEWS TABLES`.

Columns that a step makes of the scores before are written down twice, there and in `scores.rs`. Where the last digit of one decides on which
side of a border it is, scores part by some hundredths: that is so for one segment in a hundred.
"""

import json
import re
import sys

import numpy as np

from pages import Page
from train import Types, around


def numbers(text, of=float):
    return np.array([of(value) for value in re.findall(r"-?\d[\d.]*(?:e[+-]?\d+)?", text)])


def chance(logits):
    return 1 / (1 + np.exp(-logits))


class Tables:
    """A step as it is written down."""

    def __init__(self, path):
        with open(path) as file:
            text = file.read()
        self.bias = numbers(re.search(r"BIAS: f32 = (\S+);", text)[1])[0]
        self.tables = [([(int(column), np.float32(border)) for column, border in re.findall(r"\((\d+), ([^)]*)\)", splits)], numbers(leaves, int))
                       for splits, leaves in re.findall(r"Tree \{ splits: \[(.*?)\], leaves: \[(.*?)\]", text)]

    def logits(self, x):
        total = np.zeros(len(x))
        for splits, leaves in self.tables:
            total += leaves[sum((x[:, column] > border).astype(int) << bit for bit, (column, border) in enumerate(splits))]
        return total / 10_000 + self.bias


def read_types(path):
    with open(path) as file:
        bias, weights = file.read().split("WEIGHTS", 1)
    types = Types.__new__(Types)
    types.bias = numbers(bias.split(" = [")[1])
    types.weights = np.array([numbers(row) for row in re.findall(r"\[([^\[\]]*)\],", weights.split(" = [", 1)[1])])
    return types


def main():
    views, folder = sys.argv[1:]
    first, second, types = Tables(f"{folder}/first.rs"), Tables(f"{folder}/second.rs"), read_types(f"{folder}/types.rs")
    apart = []
    with open(views) as lines:
        for line in lines:
            page, said = Page(line), np.array(json.loads(line)["scores"])
            if not len(said):
                continue
            row = np.hstack([page.base, np.repeat(types.predict(page.look[None]), len(said), 0)]).astype(np.float32)
            x = np.hstack([row, around(page, chance(first.logits(row)))])
            apart.append(np.abs(chance(second.logits(x)) - said))
    apart = np.concatenate(apart)
    print(f"{len(apart)} segments, {(apart > 1e-5).sum()} of them apart, by {apart.max():.2g} at most")


if __name__ == "__main__":
    main()
