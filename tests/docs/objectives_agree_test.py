"""The list of objectives that docs/architecture.md shows is the one that recipes/cities.toml ships. usage: objectives_agree_test.py SOURCE_FOLDER"""
import pathlib
import re
import sys


def objectives(text):
    """Every [[objective]] table as {key: value}, comments left out."""
    tables, current = [], None
    for line in text.splitlines():
        line = line.split("#")[0].strip()
        if line == "[[objective]]":
            current = {}
            tables.append(current)
        elif line.startswith("["):
            current = None
        elif current is not None and (match := re.match(r"(\w+)\s*=\s*(.+)", line)):
            current[match[1]] = match[2].strip()
        elif line.startswith("```"):
            current = None
    return tables


def main():
    root = pathlib.Path(sys.argv[1])
    recipe, document = objectives((root / "recipes/cities.toml").read_text()), objectives((root / "docs/architecture.md").read_text())
    assert recipe and len(recipe) == 2, recipe
    assert objectives("[[objective]]\nweight = 1") != recipe, "the check cannot fail"
    if recipe != document:
        sys.exit(f"recipes/cities.toml ships {recipe}\ndocs/architecture.md shows {document}")


main()
