"""Which segments of a page are in its truth: runs of words that both have, the longest first, each word counted once."""

import re
from collections import Counter, defaultdict

WORD = re.compile(r"\w+")


def words(text):
    return WORD.findall(text.lower())


def label(segments, truth):
    """The share of each segment's words that stands in the truth; by alignment, so that order and number count."""
    page, owner = [], []
    for number, text in enumerate(segments):
        for word in text:
            page.append(word)
            owner.append(number)
    used_page, used_truth = [False] * len(page), [-1] * len(truth)
    for size in (24, 12, 8, 5, 3):
        _tile(page, truth, used_page, used_truth, size)
    _fill_gaps(page, truth, used_page, used_truth, owner, segments)
    hits = Counter(owner[at] for at, used in enumerate(used_page) if used)
    return [hits[number] / len(text) if text else 0.0 for number, text in enumerate(segments)]


def _tile(page, truth, used_page, used_truth, size):
    places = defaultdict(list)
    for at in range(len(page) - size + 1):
        if not any(used_page[at:at + size]):
            places[tuple(page[at:at + size])].append(at)
    runs = []
    at = 0
    while at <= len(truth) - size:
        best = (0, -1)
        if used_truth[at] < 0:
            for place in places.get(tuple(truth[at:at + size]), ())[:50]:
                length = 0
                while (at + length < len(truth) and place + length < len(page) and used_truth[at + length] < 0
                       and not used_page[place + length] and truth[at + length] == page[place + length]):
                    length += 1
                # Of equals, the one that goes on where the last run ended.
                if length >= size:
                    nearness = -abs(place - runs[-1]) if runs else 0
                    best = max(best, (length, nearness, place)) if best[0] else (length, nearness, place)
        if best[0] >= size:
            length, _, place = best
            for offset in range(length):
                used_page[place + offset] = True
                used_truth[at + offset] = place + offset
            runs.append(place + length)
            at += length
        else:
            at += 1


def _fill_gaps(page, truth, used_page, used_truth, owner, segments):
    """Short segments between runs: where the truth goes on with the very words."""
    begins = {}
    for at, number in enumerate(owner):
        begins.setdefault(number, at)
    by_words = defaultdict(list)
    for number, text in enumerate(segments):
        if text and len(text) <= 6 and not any(used_page[begins[number]:begins[number] + len(text)]):
            by_words[tuple(text)].append(begins[number])
    last = 0
    at = 0
    while at < len(truth):
        if used_truth[at] >= 0:
            last = used_truth[at] + 1
            at += 1
            continue
        for length in range(min(6, len(truth) - at), 0, -1):
            if any(used_truth[at + offset] >= 0 for offset in range(length)):
                continue
            places = [place for place in by_words.get(tuple(truth[at:at + length]), ()) if not used_page[place]]
            if places:
                place = min(places, key=lambda place: abs(place - last) + (0 if place >= last else 20))
                if abs(place - last) > 400:
                    continue
                for offset in range(length):
                    used_page[place + offset] = True
                    used_truth[at + offset] = place + offset
                last = place + length
                at += length
                break
        else:
            at += 1


def f1(found, truth):
    found, truth = Counter(found), Counter(truth)
    common = sum((found & truth).values())
    if not common:
        return 0.0
    precision, recall = common / sum(found.values()), common / sum(truth.values())
    return 2 * precision * recall / (precision + recall)
