#!/usr/bin/env python3
"""Small libraries that carry the names and symbols of CUDA's, so that the CUDA build of Python's torch can be imported where no CUDA is installed. Whoever calls one of
their functions is told its name and ends. Only for comparing with torch on a CPU; Candor itself needs none of this.

    make_cuda_standins.py TORCH_LIB_FOLDER OUT_FOLDER
"""
import pathlib
import re
import subprocess
import sys
import tempfile

TORCH_LIBRARIES = ["torch_cuda", "torch_cuda_linalg", "torch_python", "torch_nvshmem", "torch_cpu", "c10_cuda"]
STANDINS = {
    "libcublas.so.13": r"cublas(?!Lt)",
    "libcublasLt.so.13": r"cublasLt",
    "libcudnn.so.9": r"cudnn",
    "libcufft.so.12": r"cufft",
    "libcufile.so.0": r"cuFile",
    "libcurand.so.10": r"curand",
    "libcusolver.so.12": r"cusolver",
    "libcusparse.so.12": r"cusparse(?!Lt)",
    "libcusparseLt.so.0": r"cusparseLt",
    "libnvshmem_host.so.3": r"_?nvshmem",
}


def undefined_symbols(folder):
    """name -> version ("" where it has none), of all of torch's libraries."""
    symbols = {}
    for name in TORCH_LIBRARIES:
        library = folder / f"lib{name}.so"
        if not library.exists():
            continue
        listing = subprocess.run(["nm", "-D", "--undefined-only", library], capture_output=True, text=True, check=True).stdout
        for line in listing.splitlines():
            symbol, _, version = line.split()[-1].partition("@")
            symbols[symbol] = version.lstrip("@")
    return symbols


def build(library, symbols, out):
    with tempfile.TemporaryDirectory() as folder:
        source, script = pathlib.Path(folder) / "standin.c", pathlib.Path(folder) / "versions.map"
        body = "".join(f'void {name}(void) {{ fputs("{name} is only a stand-in\\n", stderr); abort(); }}\n' for name in symbols)
        source.write_text("#include <stdio.h>\n#include <stdlib.h>\n" + body)
        command = ["gcc", "-shared", "-fPIC", "-o", str(out / library), str(source), f"-Wl,-soname,{library}"]
        versions = {version for version in symbols.values() if version}
        if versions:
            script.write_text("".join(f"{version} {{ global: {' '.join(name + ';' for name, of in symbols.items() if of == version)} }};\n" for version in sorted(versions)))
            command.append(f"-Wl,--version-script={script}")
        subprocess.run(command, check=True)


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    folder, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    symbols = undefined_symbols(folder)
    for library, pattern in STANDINS.items():
        build(library, {name: version for name, version in symbols.items() if re.match(pattern, name)}, out)


if __name__ == "__main__":
    main()
