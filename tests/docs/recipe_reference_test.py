"""docs/recipe-reference.md is what `candor check --reference` prints.

usage: recipe_reference_test.py CANDOR SOURCE_FOLDER
"""
import pathlib
import subprocess
import sys

CANDOR, SOURCE = sys.argv[1], pathlib.Path(sys.argv[2])
printed = subprocess.run([CANDOR, "check", "--reference"], check=True, capture_output=True, text=True).stdout
if (SOURCE / "docs" / "recipe-reference.md").read_text() != printed:
    sys.exit("docs/recipe-reference.md is stale: ./candor check --reference > docs/recipe-reference.md")
