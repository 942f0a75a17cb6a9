"""Weights of words in class names, texts and headings: one logistic regression over all of them."""

from collections import defaultdict

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression

from pages import MAX_LOOKED_UP, MAX_PHRASE

MIN_SITES = {"c": 6, "t": 10, "p": 5, "h": 7}
KINDS = "ctph"


def tokens_of(page):
    """By segment, its tokens: `c:` names on its path, `t:` words, `p:` the whole, `h:` the words of its heading."""
    if hasattr(page, "tokens"):
        return page.tokens
    path = []
    for at, names in enumerate(page.classes):
        up = path[page.parent[at]] if page.parent[at] != at else []
        path.append(up + ["c:" + name for name in names])
    rows = []
    for at, text in enumerate(page.texts):
        row = list(path[page.element[at]])
        row += ["t:" + word for word in text[:MAX_LOOKED_UP]]
        if 2 <= len(text) <= MAX_PHRASE:
            row.append("p:" + " ".join(text))
        if page.heading[at] >= 0:
            row += ["h:" + word for word in page.texts[page.heading[at]][:MAX_LOOKED_UP]]
        rows.append(row)
    page.tokens = rows
    return rows


def fit(pages, c=0.01):
    sites = defaultdict(set)
    for page in pages:
        for token in {token for row in tokens_of(page) for token in row}:
            sites[token].add(page.site)
    known = sorted(token for token, where in sites.items() if len(where) >= MIN_SITES[token[0]])
    index = {token: at for at, token in enumerate(known)}
    cols, ptr, y, w = [], [0], [], []
    for page in pages:
        for at, row in enumerate(tokens_of(page)):
            cols += [index[token] for token in row if token in index]
            ptr.append(len(cols))
        y += list(page.labels)
        w += list(page.weights)
    x = csr_matrix((np.ones(len(cols), np.float32), cols, ptr), shape=(len(ptr) - 1, len(known)))
    x.sum_duplicates()
    y, w = np.array(y), np.array(w)
    w = w / w.mean()
    # Weights by square root: short segments teach words, too.
    w = np.sqrt(w)
    model = LogisticRegression(C=c, max_iter=100, tol=1e-3, solver="lbfgs")
    model.fit(x, y > 0.5, sample_weight=w)
    weights = np.round(model.coef_[0] * 100).clip(-999, 999)
    return {token: int(weight) for token, weight in zip(known, weights) if abs(weight) >= 4}


def columns(page, lexicon, names):
    """The columns of the page's rows that speak of words; as `features.rs` has them."""
    def of(kind, tokens):
        return sum(lexicon.get(kind + token, 0) for token in tokens) / 100
    own = np.array([np.clip(of("c:", names), -12, 12) if page.end[at] > page.begin[at] else 0.0
                    for at, names in enumerate(page.classes)])
    n = len(own)
    total, least, most = np.zeros(n), np.zeros(n), np.zeros(n)
    for at in range(n):
        up = page.parent[at]
        if up == at:
            total[at], least[at], most[at] = own[at], min(0, own[at]), max(0, own[at])
        else:
            total[at], least[at], most[at] = total[up] + own[at], min(least[up], own[at]), max(most[up], own[at])
    text = np.zeros(len(page.texts))
    heads = np.zeros(len(page.texts))
    for at, words in enumerate(page.texts):
        text[at] = of("t:", words[:MAX_LOOKED_UP])
        if 2 <= len(words) <= MAX_PHRASE:
            text[at] += lexicon.get("p:" + " ".join(words), 0) / 100
        heads[at] = of("h:", words[:MAX_LOOKED_UP])
    text, heads = text.clip(-8, 8), heads.clip(-8, 8)
    out = page.base.copy()
    if not len(out):
        return out
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
    sums = np.concatenate([[0], np.cumsum(text)])
    begin = np.maximum(np.arange(len(text)) - 5, 0)
    end = np.minimum(np.arange(len(text)) + 6, len(text))
    out[:, col["around_text_score"]] = (sums[end] - sums[begin]) / (end - begin)
    return out
