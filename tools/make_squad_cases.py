"""Writes tests/unit/reward/squad_normalise.json: texts and what the official SQuAD rule (normalize_answer) makes of them in CPython 3.11. Run from the project's root."""
import json
import random
import re
import string

HAND_PICKED = ["", "The", "a", "A", "an apple", "The  Eiffel\tTower!", "theatre", "Anna", "a-the", "o'the", "the_end", "U.S.A.", "İstanbul", "ΣΊΣΥΦΟΣ", "ΟΔΥΣΣΕΥΣ Σ", "Straße", "ẞ", "ǅ", "Köln, the city", "São Paulo", "中文 the 字", "the中文","中文a", "a\u00a0b", "x\u3000y", "\u200bthe", "a\u0301", "e\u0301 the e", "the\u0300", "½ a", "², the", "٣ a", "Ⅷ the Ⅷ", "〇a", "﷽ an", "a\x1cb", "a\x85b", "the.", "...", "«the»", "“The” answer", "don't", "—a—", "¿a?", "10,000 a", "I'm an LLM", "AN", "aN ant", "𝔄 the", "👩‍👩‍👧 the a", "a👍", "ﬀ", "\ufeffthe", "A1", "a_", "_a", "the'", "Æther the", "ŉ", "ά́", "Σ", "aΣ", "ΑΣ. a", "ΑΣ'Α", "K", "Å"]
ALPHABET = list("aAntheTHE .,-_'\t\n0½²") + ["é", "e\u0301", "İ", "ı", "Σ", "ß", "中", "٣", "\u00a0", "\u2003", "\u200d", "’", "“", "𝔞", "Ǆ", "ͅ", "\x1f", "\u2028", "ª", "〇"]


def normalize_answer(text):
    text = "".join(c for c in text.lower() if c not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def main():
    rng = random.Random(7)
    texts = HAND_PICKED + ["".join(rng.choice(ALPHABET) for _ in range(rng.randint(0, 14))) for _ in range(600)]
    with open("tests/unit/reward/squad_normalise.json", "w", encoding="ascii") as file:
        json.dump([[text, normalize_answer(text)] for text in texts], file, separators=(",", ":"))


if __name__ == "__main__":
    main()
