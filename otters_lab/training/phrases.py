"""Which phrases stand inside which: words in a row, split at spaces."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def maximal(phrases: Sequence[str]) -> list[int]:
    """Numbers of the phrases that stand inside no other (the first of equal ones), in their order."""
    words = [tuple(phrase.split()) for phrase in phrases]
    inside: set[int] = set()
    found = []
    for number in sorted(range(len(words)), key=lambda i: (-len(words[i]), i)):
        if hash(words[number]) not in inside:
            found.append(number)
            inside.update(_parts(words[number]))
    return sorted(found)


def within(phrases: Sequence[str], sentences: Sequence[str]) -> list[bool]:
    """Whether each phrase stands inside one of the sentences."""
    inside = {part for sentence in sentences for part in _parts(tuple(sentence.split()))}
    return [hash(tuple(phrase.split())) in inside for phrase in phrases]


def _parts(words: tuple[str, ...]) -> Iterator[int]:
    """Hashes of all stretches of words. Two that differ share one as good as never; then one phrase less is kept."""
    for start in range(len(words)):
        for stop in range(start + 1, len(words) + 1):
            yield hash(words[start:stop])
