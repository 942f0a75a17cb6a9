"""Variants of pages, to learn from besides: the same content in other surroundings, under other names. See README.md.

`vary.py PAGES VARIED [COUNT]` reads a folder of pages and writes one laid out like it, each page COUNT times (2) as ID.NUMBER. What is
content is told from the page's truth, so that what is put in or left out does not change it.
"""

import copy
import gzip
import hashlib
import json
import os
import random
import sys
from functools import partial
from multiprocessing import Pool

import lxml.html

from label import label, words

UNSEEN = {"script", "style", "template", "svg", "noscript", "iframe", "head"}
PARTS = {"div", "section", "aside", "nav", "footer", "ul", "form"}
LANDMARKS = {"nav", "header", "footer", "aside", "main", "article", "section", "figure", "time", "address"}
# Parts of a page that others may be given, and how many bytes each has at most.
LENT, MOST_BYTES = 12, 60_000


class Page:
    def __init__(self, folder, name):
        with gzip.open(f"{folder}/html/{name}.html.gz") as file:
            raw = file.read()
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError:
            text = raw.decode("latin-1")
        parser = lxml.html.HTMLParser(encoding="utf-8", huge_tree=True)
        self.root = lxml.html.document_fromstring(text.replace("\0", "").encode("utf-8"), parser=parser)
        self.body = self.root.find("body")
        with open(f"{folder}/truth/{name}.json") as file:
            self.truth = json.load(file)
        texts = [] if self.body is None else self._texts()
        shares = label([text for _, text in texts], words(self.truth["main_content"] or ""))
        # By element: its words, and those of them that are content.
        self.total, self.wanted = {}, {}
        for (element, text), share in zip(texts, shares):
            while element is not None:
                self.total[element] = self.total.get(element, 0) + len(text)
                self.wanted[element] = self.wanted.get(element, 0) + share * len(text)
                element = element.getparent()

    def _texts(self):
        """Each text with the element that it stands in, in the order of the page."""
        texts, todo = [], [(self.body, "whole")]
        while todo:
            element, what = todo.pop()
            if what == "tail":
                texts.append((element.getparent(), words(element.tail or "")))
                continue
            if isinstance(element.tag, str) and element.tag not in UNSEEN:
                texts.append((element, words(element.text or "")))
                for child in reversed(element):
                    todo += [(child, "tail"), (child, "whole")]
        return texts

    def surroundings(self, least=12, most=400):
        """Elements without any content."""
        return [element for element in self.body.iter()
                if element.tag in PARTS and least <= self.total.get(element, 0) <= most and not self.wanted.get(element, 0)]


def remove(element):
    parent, before = element.getparent(), element.getprevious()
    if parent is None:
        return
    if element.tail and before is not None:
        before.tail = (before.tail or "") + element.tail
    elif element.tail:
        parent.text = (parent.text or "") + element.tail
    parent.remove(element)


def lend(folder, name):
    draw = random.Random(name)
    page = Page(folder, name)
    found = [] if page.body is None else page.surroundings()
    draw.shuffle(found)
    lent = []
    for element in found[:40]:
        element = copy.deepcopy(element)
        element.tail = None
        html = lxml.html.tostring(element, encoding="unicode")
        if len(html) < MOST_BYTES and len(lent) < LENT:
            lent.append(html)
    return lent


def surround(page, draw, lent):
    """Others' surroundings put in, some of its own left out."""
    for _ in range(draw.choice([0, 1, 1, 2, 3])):
        spots, parts = page.surroundings(), draw.choice(lent)
        if spots and parts:
            part = lxml.html.fragment_fromstring(draw.choice(parts))
            draw.choice([draw.choice(spots).addprevious, draw.choice(spots).addnext])(part)
    for _ in range(draw.choice([0, 1, 2, 4])):
        spots = page.surroundings(most=2000)
        if spots:
            remove(draw.choice(spots))


def shorten(page, draw):
    """Some of the content left out."""
    wanted = page.wanted.get(page.body, 0)
    if draw.random() > 0.35 or wanted <= 60:
        return
    for element in [element for element in page.body.iter("p", "li", "div", "tr", "article", "section")
                    if page.total.get(element, 0) >= 5 and 0.8 * page.total[element] <= page.wanted.get(element, 0) < 0.3 * wanted]:
        if draw.random() < 0.12:
            remove(element)


def rename(page, draw):
    """Names that mean nothing, or none; landmarks, headings and what is said for machines left out."""
    mode, salt = draw.choice(["keep", "keep", "some", "some", "none"]), str(draw.random())
    for element in page.root.iter():
        for name in ("class", "id", "role") if isinstance(element.tag, str) else ():
            value = element.get(name)
            rare = value is not None and hashlib.md5((salt + name + value).encode()).digest()[0] < 96
            if value is not None and (mode == "none" and name != "role" or mode == "some" and rare):
                del element.attrib[name]
    gone = {tag for tag in sorted(LANDMARKS) if draw.random() < 0.6} if draw.random() < 0.35 else set()
    gone |= {"h1"} if draw.random() < 0.15 else set()
    for element in page.root.iter(*gone) if gone else ():
        element.tag = "div"
    for element in list(page.root.iterfind("head/meta")):
        if draw.random() < 0.2:
            remove(element)
    if draw.random() < 0.3:
        for element in list(page.root.iter("script")):
            remove(element)


def vary(folder, into, count, lent, name):
    for number in range(count):
        draw = random.Random(f"{name}.{number}")
        page = Page(folder, name)
        if page.body is None or page.total.get(page.body, 0) < 20:
            return
        surround(page, draw, lent)
        shorten(page, draw)
        rename(page, draw)
        with gzip.open(f"{into}/html/{name}.{number}.html.gz", "wb", 3) as file:
            file.write(b"<!doctype html>\n" + lxml.html.tostring(page.root, encoding="utf-8"))
        with open(f"{into}/truth/{name}.{number}.json", "w") as file:
            json.dump(page.truth, file)


def main():
    folder, into, count = sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 2
    for kind in ("html", "truth"):
        os.makedirs(f"{into}/{kind}", exist_ok=True)
    names = sorted(name.removesuffix(".json") for name in os.listdir(f"{folder}/truth"))
    with Pool() as pool:
        lent = pool.map(partial(lend, folder), names)
        pool.map(partial(vary, folder, into, count, lent), names, chunksize=8)


if __name__ == "__main__":
    main()
