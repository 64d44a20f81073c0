"""The project's files, and C++ and Rust text without comments and strings: shared by the structure checks. Needs nothing but Python."""

import os
import pathlib
import re
import subprocess

LAYOUT_FOLDERS = {".git", ".deps", "build", "runs", "models", "data", "target", "__pycache__"}

# Comments, raw strings, strings and character literals of C++; a digit before ' is a digit separator (1'000), not a literal.
CPP_TOKEN = re.compile(r'//[^\n]*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|(?<![0-9a-fA-F])\'(?:\\.|[^\'\\\n])+\'', re.S)
# Rust has lifetimes ('a) where C++ has digit separators.
RUST_TOKEN = re.compile(r'//[^\n]*|/\*.*?\*/|r(#*)".*?"\1|"(?:\\.|[^"\\])*"|\'(?:\\[^\']+|[^\'\\])\'', re.S)


def project_files(root):
    """Paths relative to `root`, sorted: what git tracks or would track; every file where there is no git."""
    root = pathlib.Path(root)
    listing = subprocess.run(["git", "-C", str(root), "ls-files", "-co", "--exclude-standard", "-z"], capture_output=True, check=False)
    if listing.returncode == 0 and (root / ".git").exists():
        names = listing.stdout.decode().split("\0")
        return sorted(name for name in names if name and (root / name).is_file())
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in LAYOUT_FOLDERS]
        found += [str((pathlib.Path(folder) / name).relative_to(root)) for name in names]
    return sorted(found)


def read(root, name):
    return (pathlib.Path(root) / name).read_text(encoding="utf-8", errors="replace")


def without_comments(text, token=CPP_TOKEN):
    """`text` with comments and literals blanked; line numbers stay. Of a string, the quotes are left."""

    def blank(match):
        found = match.group(0)
        newlines = "\n" * found.count("\n")
        return newlines if found.startswith(("//", "/*")) else '""' + newlines

    return token.sub(blank, text)


def report(problems, what):
    """Prints the problems; the exit status of a check."""
    for problem in problems:
        print(problem)
    print(f"{what}: {len(problems)} problem(s)" if problems else f"{what}: holds")
    return 1 if problems else 0
