"""WikiText-2 as sentences."""

import re
from collections.abc import Iterator
from pathlib import Path

from lightning_extract.data.text_files import text_lines

# The official archive wikitext-2-v1.zip of Merity et al., Pointer Sentinel Mixture Models, ICLR 2017.
WIKITEXT_FOLDER = "wikitext-2"
WIKITEXT_FILES = ("wiki.train.tokens", "wiki.valid.tokens", "wiki.test.tokens")
# Ours: fewer words are remnants, such as a closing quotation mark.
MIN_WORDS = 3

_HEADING = re.compile(r"= .* =")
_SENTENCE_END = re.compile(r"(?<= [.!?]) ")


def wikitext_sentences(folder: Path) -> Iterator[str]:
    """Sentences of the paragraphs of all three parts, in the order of the files; headings are left out.

    A sentence ends after a full stop, an exclamation mark or a question mark that stands alone between spaces. The
    files separate those of sentences so, and not those of abbreviations.

    Reference:
        Pal et al., ActiveThief, AAAI 2020, table 2: 89,000 and 10,000 sentences, by a rule that is not published.

    Raises:
        InputError: A file cannot be read.
    """
    for name in WIKITEXT_FILES:
        for line in _paragraphs(folder / name):
            yield from (sentence for sentence in _SENTENCE_END.split(line) if len(sentence.split()) >= MIN_WORDS)


def _paragraphs(path: Path) -> Iterator[str]:
    # Empty lines are part of the official layout.
    return (line for _, line in text_lines(path, empty_lines=True) if not _HEADING.fullmatch(line))
