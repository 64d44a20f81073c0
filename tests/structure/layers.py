#!/usr/bin/env python3
"""The layer rule: who may include whom is tools/layers.txt, and an outside library is included only by the folders whose third column names it.

    layers.py ROOT
"""

import pathlib
import re
import sys

import source_tree

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(?:"([^"]+)"|<([^>]+)>)', re.M)

# Headers (by beginning) and the package of layers.txt that must be named to include them.
PACKAGE_OF_HEADER = {
    "spdlog/": "spdlog",
    "fmt/": "spdlog",
    "toml++/": "tomlplusplus",
    "toml.hpp": "tomlplusplus",
    "tl/expected": "expected",
    "xxhash.h": "xxhash",
    "nlohmann/": "nlohmann",
    "zmq": "zmq",
    "zstd.h": "zstd",
    "sodium": "zmq",
    "CLI/": "cli11",
    "rocksdb/": "rocksdb",
    "httplib.h": "httplib",
    "unicode/": "icu",
    "re2/": "re2",
    "curl/": "curl",
    "gmp": "gmp",
    "google/protobuf": "protobuf",
    "ATen/": "torch",
    "c10/": "torch",
    "torch/": "torch",
}
# One home each, whatever layers.txt says: these libraries are seen only behind an interface of that folder, or of that file.
ONLY_HOME = {
    "zmq": "core",
    "zstd.h": "weights",
    "mpi.h": "core",
    "nccl.h": "core",
    "rocksdb/": "coordinator",
    "google/protobuf": "proto",
    "CLI/": "cli/command_line.cc",
}
# core/'s own vocabulary: whoever includes core may use these libraries too.
THROUGH_CORE = {"spdlog", "expected"}
# The settings of a folder and their option table; cli/ puts all of them together, so it may include these of every folder.
SETTINGS = re.compile(r"(?:^|/)(?:\w+_)?options\.h$")
# A source that belongs to another layer than its folder's.
LAYER_OF_FILE = {"cli/main_torch.cc": "cli/torch"}
TORCH_FRONT_DOOR = "model/aten.h"  # the precompiled header; only model's own headers may show torch to others


def read_layers(root):
    """{folder: (folders it may include, packages)}"""
    layers = {}
    for line in source_tree.read(root, "tools/layers.txt").splitlines():
        if line and not line.startswith("#"):
            folder, may_include, packages = (part.split() for part in line.split(":"))
            layers[folder[0]] = (set(may_include), set(packages))
    return layers


def layer_of(path, layers):
    """The layer that a file lies in: the longest folder of layers.txt that its path begins with; None outside of all."""
    if path in LAYER_OF_FILE:
        return LAYER_OF_FILE[path]
    owners = [folder for folder in layers if path.startswith(folder + "/")]
    return max(owners, key=len, default=None)


def beginning(header, table):
    return next((value for start, value in table.items() if header.startswith(start)), None)


def check_own_include(path, header, layer, layers):
    may_include, packages = layers[layer]
    if header.endswith(".pb.h"):
        return None if layer == "proto" else f"{path}: includes {header}; generated messages are seen only in proto/"
    target = layer_of(header, layers)
    if target is None:
        return f'{path}: #include "{header}" does not begin with a folder of tools/layers.txt'
    if layer == "cli" and SETTINGS.search(header):
        return None
    if target != layer and target not in may_include:
        return f"{path}: includes {header}, but tools/layers.txt does not let {layer} include {target}"
    if header == TORCH_FRONT_DOOR and SETTINGS.search(path):
        return f"{path}: settings are read by programs without torch, and {header} is torch"
    if header == TORCH_FRONT_DOOR and path.endswith(".h") and layer != "model":
        return f"{path}: a header outside model/ shows torch (through {header}) to whoever includes it"
    if header == TORCH_FRONT_DOOR and "torch" not in packages:
        return f"{path}: includes {header}, but {layer} does not name torch in tools/layers.txt"
    return None


def check_outside_include(path, header, layer, layers):
    home, package = beginning(header, ONLY_HOME), beginning(header, PACKAGE_OF_HEADER)
    if home and home not in (layer, path):
        return f"{path}: includes <{header}>, whose only home is {home}"
    if package in THROUGH_CORE and "core" in layers[layer][0]:
        return None
    if package and package not in layers[layer][1]:
        return f"{path}: includes <{header}>, but {layer} does not name {package} in tools/layers.txt"
    if package == "torch" and layer != "model":
        return f'{path}: includes <{header}>; outside model/ torch comes through "{TORCH_FRONT_DOOR}"'
    return None


def problems_in(root):
    layers, problems = read_layers(root), []
    for path in source_tree.project_files(root):
        layer = layer_of(path, layers)
        if layer is None or pathlib.PurePath(path).suffix not in {".h", ".cc"}:
            continue
        for own, outside in INCLUDE.findall(re.sub(r"/\*.*?\*/", "", source_tree.read(root, path), flags=re.S)):
            found = check_own_include(path, own, layer, layers) if own else check_outside_include(path, outside, layer, layers)
            if found:
                problems.append(found)
    return problems


if __name__ == "__main__":
    sys.exit(source_tree.report(problems_in(sys.argv[1]), "layers"))
