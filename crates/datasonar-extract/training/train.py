"""Trains the scorer of main content. See README.md."""

import argparse
import json
import os
import pickle
import time

import numpy as np
from catboost import CatBoostClassifier, Pool
from sklearn.linear_model import LogisticRegression

import lexicon
from label import f1
from pages import TYPES, folds, load

START = time.time()


def say(*args):
    print(f"[{time.time() - START:5.0f}s]", *args, flush=True)


def boost(x, y, w, trees, depth, rate, l2=6.0, seed=1):
    # Of rows that weigh little, some stand for all: it takes half the time.
    chance = np.minimum(1, w / w.mean() / 0.5)
    drawn = np.random.default_rng(seed).random(len(w)) < chance
    x, y, w = x[drawn], y[drawn], (w / chance)[drawn]
    model = CatBoostClassifier(
        loss_function="CrossEntropy", iterations=trees, depth=depth, learning_rate=rate, l2_leaf_reg=l2,
        border_count=64, random_seed=seed, verbose=False, thread_count=2, allow_writing_files=False,
        bootstrap_type="Bernoulli", subsample=0.8, rsm=0.4, boosting_type="Plain", leaf_estimation_iterations=2)
    model.fit(Pool(x, y, weight=w))
    return model


class Types:
    """Which type a page is of: one linear step over what the page is like as a whole."""

    def __init__(self, x, y):
        self.mean, self.scale = x.mean(0), np.maximum(x.std(0), 1e-3)
        model = LogisticRegression(C=0.1, max_iter=1000).fit((x - self.mean) / self.scale, y)
        # In terms of the columns as they are.
        self.weights = np.round(model.coef_ / self.scale, 4)
        self.bias = np.round(model.intercept_ - (model.coef_ * self.mean / self.scale).sum(1), 4)

    def predict(self, x):
        said = x @ self.weights.T + self.bias
        said = np.exp(said - said.max(1, keepdims=True))
        return said / said.sum(1, keepdims=True)


AROUND = ["s_own", "s_prev", "s_next", "s_prev2", "s_next2", "s_around", "s_far", "s_c0", "s_c1", "s_c2", "s_c3", "s_c4",
          "s_m0", "s_m1", "s_m2", "s_m3", "s_m4", "s_path", "s_kind", "s_page", "s_heading", "s_item", "s_items", "s_best",
          "s_before", "s_after", "s_run"]


def mean(values, weights, begin, end):
    sums, total = np.concatenate([[0], np.cumsum(values * weights)]), np.concatenate([[0], np.cumsum(weights)])
    return (sums[end] - sums[begin]) / np.maximum(total[end] - total[begin], 1e-9)


def by_key(keys, p, w):
    _, which = np.unique(keys, return_inverse=True)
    return (np.bincount(which, p * w) / np.bincount(which, w))[which]


def around(page, p):
    """A later step's columns: the scores of the step before, of what stands around. As `scores.rs` has them."""
    n = len(p)
    if not n:
        return np.zeros((0, len(AROUND)), np.float32)
    w = page.lengths + 0.5
    at = np.arange(n)
    wide = np.concatenate([[0, 0], p, [0, 0]])
    cols = [p, wide[1:1 + n], wide[3:3 + n], wide[:n], wide[4:4 + n]]
    for reach in (4, 15):
        cols.append(mean(p, w, np.maximum(at - reach, 0), np.minimum(at + reach + 1, n)))
    mass = np.concatenate([[0], np.cumsum(p * w)])
    whole = max(mass[-1], 1e-9)
    for level in range(5):
        c = page.containers[:, level]
        cols.append(mean(p, w, page.begin[c], page.end[c]))
    for level in range(5):
        c = page.containers[:, level]
        cols.append((mass[page.end[c]] - mass[page.begin[c]]) / whole)
    cols.append(by_key(page.paths, p, w))
    cols.append(by_key(page.kinds, p, w))
    cols.append(np.full(n, whole / w.sum()))
    cols.append(np.where(page.heading >= 0, p[page.heading], 0.5))
    item = np.maximum(page.item, 0)
    cols.append(np.where(page.item >= 0, mean(p, w, page.begin[item], page.end[item]), p))
    up = page.parent[item]
    cols.append(np.where(page.item >= 0, mean(p, w, page.begin[up], page.end[up]), p))
    c = page.containers[:, 1]
    best = {container: p[page.begin[container]:page.end[container]].max() for container in set(c)}
    cols.append(np.array([best[container] for container in c]))
    cols.append(mass[:-1] / whole)
    cols.append(np.log1p(mass[-1] - mass[1:]))
    run = np.zeros(n)
    for i in range(1, n):
        run[i] = run[i - 1] + 1 if p[i - 1] > 0.5 else 0
    cols.append(np.log1p(run))
    return np.stack(cols, 1).astype(np.float32)


class Words:
    """What is learned of words and of types of pages; with it, the columns that later steps start from.

    `rows`, `part` and `pages` go together: first the pages themselves, then their variants, each in the part of its page.
    """

    def __init__(self, all_words, chosen, inner, variants):
        pages = [all_words.pages[at] for at in chosen]
        self.all = all_words
        self.part = folds(pages, inner, 5)
        looks = np.stack([page.look for page in pages])
        kinds = np.array([TYPES.index(page.type) for page in pages])
        of = [(page, part) for page, part in zip(pages, self.part)]
        of += [(variant, part) for page, part in of for variant in variants.get(page.id, ())]
        self.pages, self.rows = [page for page, _ in of], [None] * len(of)
        for number in range(inner):
            self.weights = all_words.fit(chosen[self.part != number])
            self.types = Types(looks[self.part != number], kinds[self.part != number])
            for at, (page, part) in enumerate(of):
                if part == number:
                    self.rows[at] = self.columns(page)[0]
        self.part = np.array([part for _, part in of])
        self.weights = all_words.fit(chosen)
        self.types = Types(looks, kinds)

    @staticmethod
    def join(row, prob):
        return np.hstack([row, np.repeat(prob[None], len(row), 0)]).astype(np.float32)

    def columns(self, page):
        probs = self.types.predict(page.look[None])[0]
        return self.join(lexicon.columns(page, self.weights, page.names), probs), probs


# How much a variant counts against a page as it is.
VARIANT = 0.5
# By how many models, alike but for their seeds, the last step is averaged.
MODELS = 3


class Steps:
    """Boosted tables, step after step; each sees the scores that the one before gave to what stands around.

    A step is a list of models, whose logits are averaged.
    """

    def __init__(self, pages, rows, part, steps, inner):
        self.steps = []
        y = np.concatenate([page.labels for page in pages])
        w = np.concatenate([page.weights * (VARIANT if page.variant else 1) for page in pages])
        where = np.repeat(np.arange(len(pages)), [len(row) for row in rows])
        begin = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
        x = first = np.concatenate(rows)
        for number, step in enumerate(steps):
            is_last = number + 1 == len(steps)
            self.steps.append([boost(x, y, w, *step, seed=seed) for seed in range(1, MODELS + 1 if is_last else 2)])
            say("step", number)
            if is_last:
                break
            p = np.zeros(len(y))
            for fold in range(inner):
                out = part[where] == fold
                p[out] = boost(x[~out], y[~out], w[~out], *step).predict_proba(x[out])[:, 1]
            x = np.hstack([first, np.concatenate([around(page, p[begin[at]:begin[at + 1]]) for at, page in enumerate(pages)])])

    def predict(self, page, row):
        if not len(row):
            return np.zeros(0)
        p = None
        for models in self.steps:
            x = row if p is None else np.hstack([row, around(page, p)])
            logits = np.mean([model.predict(x, prediction_type="RawFormulaVal") for model in models], 0)
            p = 1 / (1 + np.exp(-logits))
        return p


# How much a score is doubted, by type: scores of what stands together are wrong together, so that to take them for
# chances that know nothing of each other keeps too much. Found on scores of pages that were not learned from.
DOUBT = np.array([1.5, 1.0, 1.0, 1.0, 0.95, 1.0, 0.9])


def choose(p, lengths, types):
    """Those whose score is at least half the best F1 that is to be expected: which makes that F1."""
    if not len(p):
        return np.zeros(0, bool)
    p = p ** (types @ DOUBT)
    order = np.argsort(-p)
    hits, found = np.cumsum((p * lengths)[order]), np.cumsum(lengths[order])
    expected = 2 * hits / np.maximum(found + (p * lengths).sum(), 1)
    best = expected.argmax()
    return p >= p[order][best]


def score(page, chosen):
    return f1([word for text, yes in zip(page.texts, chosen) if yes for word in text], page.truth)


def table(results):
    line = []
    for kind in TYPES:
        of = [value for name, value in results if name == kind]
        if of:
            line.append(f"{kind} {np.mean(of):.4f}")
    print(f"ALL {np.mean([value for _, value in results]):.4f}  " + "  ".join(line), flush=True)


def prepared(all_words, variants, part, number, args):
    """The pages of a fold with their columns; kept in a file, since words take long."""
    path = f"{args.cache}/words-{args.outer}-{args.inner}-{number}.pickle" if args.cache else None
    if path and os.path.exists(path):
        with open(path, "rb") as file:
            return pickle.load(file)
    pages = all_words.pages
    chosen = np.array([at for at, page in enumerate(pages) if part[at] != number and page.truth and page.texts])
    words = Words(all_words, chosen, args.inner, variants)
    held = {page.id: words.columns(page) for page, of in zip(pages, part) if of == number}
    words = ([page.id for page in words.pages], words.rows, words.part)
    if path:
        with open(path, "wb") as file:
            pickle.dump((words, held), file)
    return words, held


def number(value):
    """The shortest way to write what a comparison needs."""
    text = str(np.float32(value))
    return text if "." in text or "e" in text else text + ".0"


def write_tables(folder, words, steps, names, page_names, command):
    """The tables as Rust, for `src/main_content/weights`."""
    head = f"// Made by `{command}`; see training/README.md. Not to be edited.\n\n"

    def lexicon_table(name, kind, doc):
        entries = sorted((token[2:], weight) for token, weight in words.all.table(words.weights).items() if token[0] == kind)
        lines, line = [], "   "
        for token, weight in entries:
            entry = f" ({json.dumps(token, ensure_ascii=False)}, {weight}),"
            if len(line) + len(entry) > 200:
                lines.append(line)
                line = "   "
            line += entry
        return f"/// {doc}\n#[rustfmt::skip]\npub(crate) const {name}: &[(&str, i16)] = &[\n" + "\n".join(lines + [line]) + "\n];\n"

    with open(f"{folder}/lexicon.rs", "w") as file:
        file.write("//! Weights of words, in hundredths of a logit: positive for content.\n" + head)
        file.write(lexicon_table("CLASS", "c", "Words of class names, ids and roles; with `-`, two that follow each other.") + "\n")
        file.write(lexicon_table("TEXT", "t", "Words of a text's beginning.") + "\n")
        file.write(lexicon_table("PHRASE", "p", "Short texts as a whole.") + "\n")
        file.write(lexicon_table("HEADING", "h", "Words of the heading before."))
    with open(f"{folder}/types.rs", "w") as file:
        file.write("//! Which type a page is of: a weight for each column of `page::NAMES` and each type.\n" + head)
        file.write(f"/// In the order of `page::Type::ALL`: {', '.join(TYPES)}.\n#[rustfmt::skip]\n"
                   f"pub(crate) const BIAS: [f32; {len(TYPES)}] = [{', '.join(f'{b:.4}' for b in words.types.bias)}];\n\n")
        file.write(f"/// By type, then by column.\n#[rustfmt::skip]\npub(crate) const WEIGHTS: [[f32; {len(page_names)}]; {len(TYPES)}] = [\n")
        for kind, row in zip(TYPES, words.types.weights):
            file.write(f"    // {kind}\n    [\n")
            for at in range(0, len(row), 10):
                file.write("        " + ", ".join(f"{value:.4f}" for value in row[at:at + 10]) + ",\n")
            file.write("    ],\n")
        file.write("];\n")
    columns = names + ["t_" + kind for kind in TYPES] + AROUND
    for models, step in zip(steps.steps, ("first", "second")):
        trees, bias = [], 0.0
        for model in models:
            path = f"{folder}/{step}.json"
            model.save_model(path, format="json")
            with open(path) as file:
                view = json.load(file)
            os.remove(path)
            scale, own = view["scale_and_bias"]
            bias += own[0] / len(models)
            for tree in view["oblivious_trees"]:
                tree["leaf_values"] = [value * scale / len(models) for value in tree["leaf_values"]]
                trees.append(tree)
        used = sorted({split["float_feature_index"] for tree in trees for split in tree["splits"]})
        depth = max(len(tree["splits"]) for tree in trees)
        with open(f"{folder}/{step}.rs", "w") as file:
            file.write(f"//! The {step} step: two tables a line, each its questions (column, border) and its answers in ten-thousandths of a logit.\n//!\n")
            line = "//! Columns:"
            for at in used:
                entry = f" {at} {columns[at]},"
                if len(line) + len(entry) > 118:
                    file.write(line + "\n")
                    line = "//!"
                line += entry
            file.write(line[:-1] + ".\n" + head + "use crate::main_content::trees::Tree;\n\n")
            file.write(f"/// What is added to the sum of all answers.\npub(crate) const BIAS: f32 = {bias:.6f};\n\n")
            file.write(f"/// The tables.\n#[rustfmt::skip]\npub(crate) static TREES: [Tree<{depth}, {2 ** depth}>; {len(trees)}] = [\n")
            for at, tree in enumerate(trees):
                splits = [(split["float_feature_index"], split["border"]) for split in tree["splits"]]
                leaves = [round(value * 10000) for value in tree["leaf_values"]]
                while len(splits) < depth:
                    splits.append((0, 3e38))
                    leaves += [0] * len(leaves)
                text = ", ".join(f"({at}, {number(border)})" for at, border in splits)
                file.write(f"{' ' if at % 2 else '    '}Tree {{ splits: [{text}], leaves: {leaves} }},")
                file.write("\n" if at % 2 or at + 1 == len(trees) else "")
            file.write("];\n")


def main():
    numbers = lambda text: [[float(x) if "." in x else int(x) for x in step.split(",")] for step in text.split("/")]
    parser = argparse.ArgumentParser()
    parser.add_argument("views")
    parser.add_argument("--outer", type=int, default=4, help="parts for the figure")
    parser.add_argument("--inner", type=int, default=4, help="parts within, for what steps tell each other")
    parser.add_argument("--steps", type=numbers, default=[[150, 6, 0.1], [200, 6, 0.08]], help="trees,depth,rate/...")
    parser.add_argument("--varied", help="views of variants (vary.py) to learn from besides")
    parser.add_argument("--only", type=numbers, help="these of the outer parts")
    parser.add_argument("--cache", help="folder for what words say")
    parser.add_argument("--judged", help="file for what was said of each page: for `quality --judged`")
    parser.add_argument("--tables", help="folder for the tables, learned from all pages; no figure then")
    args = parser.parse_args()
    pages = load(args.views)
    say(len(pages), "pages", sum(len(page.texts) for page in pages), "segments")
    variants = {}
    for page in load(args.varied) if args.varied else ():
        page.variant = True
        if page.texts:
            variants.setdefault(page.id.rsplit(".", 1)[0], []).append(page)
    all_words = lexicon.Lexicon(pages, [page for of in variants.values() for page in of])
    say(len(all_words.words), "words")
    if args.tables:
        chosen = np.array([at for at, page in enumerate(pages) if page.truth and page.texts])
        words = Words(all_words, chosen, args.inner, variants)
        say("words")
        steps = Steps(words.pages, words.rows, words.part, args.steps, args.inner)
        command = "python training/train.py VIEWS --varied VARIED --tables src/main_content/weights"
        write_tables(args.tables, words, steps, pages[0].names, pages[0].page_names, command)
        return
    part = folds(pages, args.outer, 11)
    results, right = [], 0
    judged = open(args.judged, "w") if args.judged else None
    by_name = {page.id: page for page in [*pages, *(page for of in variants.values() for page in of)]}
    for number in args.only[0] if args.only else range(args.outer):
        (names, rows, inner), held = prepared(all_words, variants, part, number, args)
        steps = Steps([by_name[name] for name in names], rows, inner, args.steps, args.inner)
        for at in np.flatnonzero(part == number):
            page = pages[at]
            row, probs = held[page.id]
            p = steps.predict(page, row)
            results.append((page.type, score(page, choose(p, page.lengths, probs))))
            right += TYPES[probs.argmax()] == page.type
            if judged:
                line = {"id": page.id, "scores": np.round(p, 5).tolist(), "types": np.round(probs, 5).tolist()}
                judged.write(json.dumps(line) + "\n")
        say("part", number)
        table(results)
    say("types right", right / len(results))


if __name__ == "__main__":
    main()
