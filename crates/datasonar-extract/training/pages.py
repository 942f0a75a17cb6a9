"""Pages as `examples/segments` shows them, with the label of each segment, as arrays."""

import json
import os
import pickle
from multiprocessing import Pool
from urllib.parse import urlparse

import numpy as np

from label import label, words

TYPES = ["article", "collection", "documentation", "forum", "listing", "product", "service"]
MAX_LOOKED_UP = 24
MAX_PHRASE = 5


class Page:
    """One page; rows of arrays are its segments."""

    # Whether it is a page as `vary.py` changed it.
    variant = False

    def __init__(self, line):
        view = json.loads(line)
        self.id, self.type, self.url = view["id"], view["type"], view["url"]
        self.site = site(view["url"], view["id"])
        self.names, self.page_names = view["names"], view["page_names"]
        self.truth = words(view["truth"])
        self.texts = [words(segment["t"]) for segment in view["segments"]]
        self.raw = [segment["t"] for segment in view["segments"]]
        self.lengths = np.array([len(text) for text in self.texts], float)
        rows = [segment["f"] for segment in view["segments"]]
        self.base = np.array(rows, np.float32).reshape(len(rows), len(self.names))
        self.look = np.array(view["page"], np.float32)
        self.element = np.array([segment["e"] for segment in view["segments"]], int)
        self.containers = np.array([segment["c"] for segment in view["segments"]], int).reshape(len(rows), 5)
        self.paths = np.array([segment["p"] for segment in view["segments"]], np.int64)
        self.kinds = np.array([segment["k"] for segment in view["segments"]], np.int64)
        self.heading = np.array([segment["h"] for segment in view["segments"]], int)
        self.item = np.array([segment["i"] for segment in view["segments"]], int)
        elements = view["elements"]
        self.parent = np.array([element[0] for element in elements], int)
        self.begin = np.array([element[1] for element in elements], int)
        self.end = np.array([element[2] for element in elements], int)
        self.tags = [element[3] for element in elements]
        self.classes = [element[4] for element in elements]
        self.marks = [element[5] for element in elements]
        self.labels = np.array(label(self.texts, self.truth), float)
        scale = len(self.truth) + 0.1 * self.lengths.sum() + 20
        self.weights = (self.lengths + 0.5) / scale


def site(url, page):
    """What pages have in common that must not stand on both sides: the registrable domain, nearly."""
    labels = (urlparse(url).hostname or "").split(".")
    if len(labels) < 2 or labels[0] == "unknown":
        return page
    if len(labels) > 2 and len(labels[-2]) <= 3 and len(labels[-1]) == 2:
        return labels[-3]
    return labels[-2]


def load(path):
    """Pages of a file of views. Labels take a while, so a pickle beside it is kept."""
    kept = path + ".pickle"
    if os.path.exists(kept) and os.path.getmtime(kept) > os.path.getmtime(path):
        with open(kept, "rb") as file:
            return pickle.load(file)
    with open(path) as lines, Pool(2) as pool:
        pages = list(pool.imap(Page, lines, chunksize=8))
    with open(kept, "wb") as file:
        pickle.dump(pages, file)
    return pages


def folds(pages, count, seed):
    """Parts of the pages, those of one site in one part, types spread evenly."""
    sites = {}
    for at, page in enumerate(pages):
        sites.setdefault(page.site, []).append(at)
    order = sorted(sites)
    np.random.default_rng(seed).shuffle(order)
    order.sort(key=lambda name: (-len(sites[name]) if len(sites[name]) > 2 else 0, pages[sites[name][0]].type))
    part = np.zeros(len(pages), int)
    load_of = np.zeros((count, len(TYPES)))
    for name in order:
        mine = sites[name]
        kinds = [TYPES.index(pages[at].type) for at in mine]
        best = min(range(count), key=lambda number: (sum(load_of[number, kind] for kind in kinds), load_of[number].sum()))
        for at, kind in zip(mine, kinds):
            part[at] = best
            load_of[best, kind] += 1
    return part
