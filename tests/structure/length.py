#!/usr/bin/env python3
"""Files of at most 400 lines and functions of at most 70 (C++, Rust, Python). Exceptions, each with its reason, are in length_allowed.txt.

    length.py ROOT
"""

import ast
import pathlib
import re
import sys

import source_tree

FILE_LINES = 400
FUNCTION_LINES = 70
ALLOWED = "tests/structure/length_allowed.txt"
SUFFIXES = {".h", ".cc", ".rs", ".py", ".sh", ".cmake", ".proto"}

NOT_A_FUNCTION = re.compile(r"^\s*(?:typedef\s+|template\s*<[^{]*>\s*)?(?:inline\s+)?(?:namespace|class|struct|union|enum|extern)\b")
INITIALISER_LIST = re.compile(r"\)\s*(?:noexcept\s*)?:\s")
RUST_FUNCTION = re.compile(r"\bfn\s+(\w+)")


def function_name(head):
    """The name before the first parenthesis of a function's head."""
    match = re.search(r"([~\w:]+|operator[^(]*)\s*\(", head)
    return match.group(1) if match else "?"


def kind_of_block(head, inside_function):
    if not inside_function and INITIALISER_LIST.search(head) and (head[-1].isalnum() or head[-1] in "_>"):
        return "initialiser"  # Foo::Foo() : member_{...
    is_function = not inside_function and "(" in head and not NOT_A_FUNCTION.match(head) and not head.rstrip().endswith("=")
    return "function" if is_function else "other"


def cpp_functions(text):
    """[(name, first line, last line)] of the function bodies at file, namespace and class level. A lambda counts to the function around it."""
    text = source_tree.without_comments(text)
    text = re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", lambda macro: "\n" * macro.group(0).count("\n"), text, flags=re.M)
    found, stack, head, head_line, line = [], [], "", 1, 1
    for char in text:
        if char == "{":
            kind = kind_of_block(head, any(entry[0] == "function" for entry in stack))
            stack.append((kind, head, head_line))
            head = ""
        elif char == "}" and stack:
            kind, opening, first = stack.pop()
            if kind == "function":
                found.append((function_name(opening), first, line))
            head, head_line = (opening + " ", first) if kind == "initialiser" else ("", line)
        elif char == ";":
            head = ""
        elif head or not char.isspace():
            head_line = head_line if head else line
            head += char
        line += char == "\n"
    return found


def rust_functions(text):
    """Like cpp_functions: from `fn` to the brace that closes its body."""
    text = source_tree.without_comments(text, source_tree.RUST_TOKEN)
    found = []
    for match in RUST_FUNCTION.finditer(text):
        opening = re.compile(r"[{;]").search(text, match.end())
        if not opening or opening.group(0) == ";":
            continue
        depth, end = 0, opening.start()
        for end in range(opening.start(), len(text)):
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            if depth == 0:
                break
        found.append((match.group(1), text.count("\n", 0, match.start()) + 1, text.count("\n", 0, end) + 1))
    return found


def python_functions(text):
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [(node.name, node.lineno, node.end_lineno) for node in ast.walk(ast.parse(text)) if isinstance(node, kinds)]


FUNCTIONS_OF = {".h": cpp_functions, ".cc": cpp_functions, ".rs": rust_functions, ".py": python_functions}


def read_allowed(root):
    """{"path" or "path:function"}; a line is that, then the reason."""
    path = pathlib.Path(root) / ALLOWED
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    entries = [line.split(None, 1) for line in lines if line.strip() and not line.startswith("#")]
    assert all(len(entry) == 2 for entry in entries), f"{ALLOWED}: every exception needs a reason"
    return {entry[0] for entry in entries}


def problems_in(root):
    allowed, used, problems = read_allowed(root), set(), []

    def complain(key, text):
        if key in allowed:
            used.add(key)
        else:
            problems.append(text)

    for path in source_tree.project_files(root):
        suffix = pathlib.PurePath(path).suffix
        if suffix not in SUFFIXES:
            continue
        text = source_tree.read(root, path)
        if (lines := text.count("\n")) > FILE_LINES:
            complain(path, f"{path}: {lines} lines, more than {FILE_LINES}: split it by what it does")
        for name, first, last in FUNCTIONS_OF.get(suffix, lambda _: [])(text):
            if last - first + 1 > FUNCTION_LINES:
                complain(f"{path}:{name}", f"{path}:{first}: {name} has {last - first + 1} lines, more than {FUNCTION_LINES}")
    problems += [f"{ALLOWED}: '{key}' is within the limits now: take it out" for key in sorted(allowed - used)]
    return problems


if __name__ == "__main__":
    sys.exit(source_tree.report(problems_in(sys.argv[1]), "length"))
