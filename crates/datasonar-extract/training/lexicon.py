"""Weights of words in class names, texts and headings: one logistic regression over all of them."""

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression

from pages import MAX_LOOKED_UP, MAX_PHRASE

# By kind, how many sites a word must stand on: class names, words, short texts, words of headings.
MIN_SITES = {"c": 6, "t": 10, "p": 5, "h": 7}


class Lexicon:
    """All words of some pages as numbers, so that weights can be fitted to any part of the pages."""

    def __init__(self, pages, variants=()):
        """`variants` only have their words numbered: what has a weight is told by pages as they are."""
        self.pages = pages
        self.index, self.words = {}, []
        sites = sorted({page.site for page in pages})
        self.site = np.array([sites.index(page.site) for page in pages])
        cols, ptr = [], [0]
        self.begin = [0]
        for page in pages:
            self._number(page)
            path = []
            for at, names in enumerate(page.n_class):
                up = path[page.parent[at]] if page.parent[at] != at else []
                path.append(up + names)
            for at in range(len(page.texts)):
                cols += path[page.element[at]] + page.n_text[at]
                if page.heading[at] >= 0:
                    cols += page.n_head[page.heading[at]]
                ptr.append(len(cols))
            self.begin.append(len(ptr) - 1)
        self.x = csr_matrix((np.ones(len(cols), np.float32), cols, ptr), shape=(len(ptr) - 1, len(self.words)))
        self.x.sum_duplicates()
        self.kind_least = np.array([MIN_SITES[word[0]] for word in self.words])
        # Which words stand on which sites, page by page.
        self.seen = [np.unique(self.x.indices[self.x.indptr[begin]:self.x.indptr[end]])
                     for begin, end in zip(self.begin, self.begin[1:])]
        self.known = len(self.words)
        for page in variants:
            self._number(page)

    def _of(self, words):
        out = []
        for word in words:
            at = self.index.get(word)
            if at is None:
                at = self.index[word] = len(self.words)
                self.words.append(word)
            out.append(at)
        return out

    def _number(self, page):
        page.n_class = [self._of("c:" + name for name in names) for names in page.classes]
        page.n_text = []
        for text in page.texts:
            row = ["t:" + word for word in text[:MAX_LOOKED_UP]]
            if 2 <= len(text) <= MAX_PHRASE:
                row.append("p:" + " ".join(text))
            page.n_text.append(self._of(row))
        page.n_head = [self._of("h:" + word for word in text[:MAX_LOOKED_UP]) for text in page.texts]

    def fit(self, chosen, c=0.01):
        """A weight for each word, in hundredths, learned from the pages of those numbers."""
        count, last = np.zeros(self.known, int), np.full(self.known, -1)
        for at in sorted(chosen, key=lambda at: self.site[at]):
            words = self.seen[at]
            count[words] += last[words] != self.site[at]
            last[words] = self.site[at]
        known = np.flatnonzero(count >= self.kind_least)
        rows = np.concatenate([np.arange(self.begin[at], self.begin[at + 1]) for at in chosen])
        y = np.concatenate([self.pages[at].labels for at in chosen])
        # Weights by square root: short segments teach words, too.
        w = np.concatenate([self.pages[at].weights for at in chosen])
        w = np.sqrt(w / w.mean())
        model = LogisticRegression(C=c, max_iter=100, tol=1e-3, solver="lbfgs")
        model.fit(self.x[rows][:, known], y > 0.5, sample_weight=w)
        weights = np.zeros(len(self.words))
        weights[known] = np.round(model.coef_[0] * 100).clip(-999, 999)
        weights[np.abs(weights) < 4] = 0
        return weights

    def table(self, weights):
        return {self.words[at]: int(weights[at]) for at in np.flatnonzero(weights)}


def sums(rows, weights):
    """The sum of the weights of each row's words."""
    lengths = np.array([len(row) for row in rows], int)
    flat = np.fromiter((at for row in rows for at in row), int, lengths.sum())
    total = np.concatenate([[0], np.cumsum(weights[flat])])
    end = np.cumsum(lengths)
    return (total[end] - total[end - lengths]) / 100


def columns(page, weights, names):
    """The columns of the page's rows that speak of words; as `features.rs` has them."""
    out = page.base.copy()
    if not len(out):
        return out
    own = np.where(page.end > page.begin, sums(page.n_class, weights).clip(-12, 12), 0.0)
    total, least, most = [], [], []
    for at, (up, value) in enumerate(zip(page.parent.tolist(), own.tolist())):
        root = up == at
        total.append(value if root else total[up] + value)
        least.append(min(0.0 if root else least[up], value))
        most.append(max(0.0 if root else most[up], value))
    total, least, most = np.array(total), np.array(least), np.array(most)
    text = sums(page.n_text, weights).clip(-8, 8)
    heads = sums(page.n_head, weights).clip(-8, 8)
    col = {name: at for at, name in enumerate(names)}
    e = page.element
    up = page.parent[e]
    out[:, col["class_own"]] = own[e]
    out[:, col["class_near"]] = own[e] + own[up] + own[page.parent[up]]
    out[:, col["class_sum"]] = total[e]
    out[:, col["class_min"]] = least[e]
    out[:, col["class_max"]] = most[e]
    out[:, col["text_score"]] = text
    out[:, col["text_mean"]] = text / page.lengths.clip(1, MAX_LOOKED_UP)
    out[:, col["heading_says"]] = np.where(page.heading >= 0, heads[page.heading], 0)
    out[:, col["prev_text_score"]] = np.concatenate([[0], text[:-1]])
    out[:, col["next_text_score"]] = np.concatenate([text[1:], [0]])
    cumulated = np.concatenate([[0], np.cumsum(text)])
    begin = np.maximum(np.arange(len(text)) - 5, 0)
    end = np.minimum(np.arange(len(text)) + 6, len(text))
    out[:, col["around_text_score"]] = (cumulated[end] - cumulated[begin]) / (end - begin)
    return out
