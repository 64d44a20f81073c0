"""Each structure check against a small tree that breaks its rule (it must say so) and one that keeps it (it must be silent)."""

import pathlib
import tempfile
import unittest

import formatting
import layers
import length
import source_tree
import words

LAYERS = """# comment
core       :            : spdlog zmq expected nlohmann
text       : core       : nlohmann
model      : core text  : torch
trainer    : core model : torch
coordinator : core      : rocksdb
proto      : core       : protobuf
cli        : core text  : cli11
cli/torch  : core trainer cli : cli11
"""


class Tree:
    """A temporary project folder with the given files."""

    def __init__(self, files):
        self.files = files

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory()
        for name, text in {"tools/layers.txt": LAYERS, **self.files}.items():
            path = pathlib.Path(self.folder.name) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return self.folder.name

    def __exit__(self, *error):
        self.folder.cleanup()


class Layers(unittest.TestCase):
    def problems(self, path, line):
        with Tree({path: "// a file\n" + line + "\n"}) as root:
            return layers.problems_in(root)

    def assert_breaks(self, path, line, word):
        found = self.problems(path, line)
        self.assertEqual(len(found), 1, found)
        self.assertIn(word, found[0])

    def test_an_include_upwards_is_found(self):
        self.assert_breaks("core/a.cc", '#include "text/b.h"', "text")
        self.assert_breaks("text/a.h", '  #  include "model/b.h"', "model")

    def test_an_include_without_a_folder_is_found(self):
        self.assert_breaks("core/a.cc", '#include "b.h"', "b.h")

    def test_a_sub_folder_is_a_layer_of_its_own(self):
        self.assert_breaks("cli/a.cc", '#include "trainer/b.h"', "trainer")
        self.assert_breaks("cli/a.cc", '#include "cli/torch/b.h"', "cli/torch")
        self.assertEqual(self.problems("cli/torch/a.cc", '#include "trainer/b.h"'), [])
        self.assertEqual(self.problems("cli/main_torch.cc", '#include "cli/torch/b.h"'), [])

    def test_libraries_are_kept_at_home(self):
        for path, header, home in [
            ("text/a.cc", "zmq.h", "core"),
            ("trainer/a.cc", "mpi.h", "core"),
            ("trainer/a.cc", "nccl.h", "core"),
            ("cli/a.cc", "rocksdb/db.h", "coordinator"),
            ("core/a.cc", "google/protobuf/message.h", "proto"),
            ("cli/a.cc", "CLI/CLI.hpp", "cli/command_line.cc"),
        ]:
            self.assert_breaks(path, f"#include <{header}>", home)
        self.assert_breaks("core/a.cc", '#include "proto/candor.pb.h"', "proto")
        self.assertEqual(self.problems("core/a.cc", "#include <zmq.h>"), [])
        self.assertEqual(self.problems("coordinator/a.cc", "#include <rocksdb/db.h>"), [])
        self.assertEqual(self.problems("proto/a.cc", '#include "proto/candor.pb.h"'), [])

    def test_a_package_must_be_named(self):
        self.assert_breaks("core/a.cc", "#include <re2/re2.h>", "re2")
        self.assertEqual(self.problems("text/a.cc", "#include <fmt/format.h>"), [], "core's vocabulary comes with core")

    def test_torch_stays_where_it_belongs(self):
        self.assert_breaks("cli/a.cc", "#include <torch/torch.h>", "torch")
        self.assert_breaks("trainer/a.cc", "#include <ATen/ATen.h>", "aten.h")
        self.assert_breaks("trainer/a.h", '#include "model/aten.h"', "shows torch")
        self.assert_breaks("model/options.h", '#include "model/aten.h"', "settings")
        self.assertEqual(self.problems("trainer/a.cc", '#include "model/aten.h"'), [])
        self.assertEqual(self.problems("model/a.h", '#include "model/aten.h"'), [])

    def test_cli_may_read_every_folders_settings(self):
        self.assertEqual(self.problems("cli/a.cc", '#include "trainer/options.h"'), [])

    def test_an_include_in_a_comment_is_none(self):
        self.assertEqual(self.problems("core/a.cc", '/*\n#include "text/b.h"\n*/'), [])


class Length(unittest.TestCase):
    def problems(self, files):
        with Tree(files) as root:
            return length.problems_in(root)

    def body(self, lines, indent="  "):
        return "".join(f"{indent}x({number});\n" for number in range(lines))

    def test_a_long_file_is_found(self):
        self.assertEqual(self.problems({"core/a.h": "int x;\n" * 400}), [])
        self.assertEqual(len(self.problems({"core/a.h": "int x;\n" * 401})), 1)

    def test_a_long_function_is_found(self):
        self.assertEqual(self.problems({"core/a.cc": "void F(int a) {\n" + self.body(68) + "}\n"}), [])
        found = self.problems({"core/a.cc": "namespace n {\n\nvoid C::F(int a) {\n" + self.body(69) + "}\n}\n"})
        self.assertEqual(len(found), 1)
        self.assertIn("core/a.cc:3: C::F has 71 lines", found[0])

    def test_functions_hidden_in_other_shapes_are_found(self):
        shapes = {
            "a method": "class C {\n public:\n  int F() const override {\n%s  }\n};\n",
            "a constructor": "C::C(int a) : a_(a), b_{a} {\n%s}\n",
            "a template": "template <typename T, int n>\nauto F(T t) -> std::vector<T> {\n%s}\n",
            "braces in strings": 'void F() {\n  s = "}}}"; c = \'}\'; r = R"(}})"; // }\n%s}\n',
            "digit separators": "void F() {\n  x = 1'000'000;\n%s}\n",
            "control flow": "void F() {\n  if (a) {\n    for (;;) {\n    }\n  }\n%s}\n",
        }
        for name, shape in shapes.items():
            with self.subTest(name):
                self.assertEqual(len(self.problems({"core/a.cc": shape % self.body(70)})), 1, name)
                self.assertEqual(self.problems({"core/a.cc": shape % self.body(20)}), [], name)

    def test_types_and_tables_are_no_functions(self):
        self.assertEqual(self.problems({"core/a.h": "struct S {\n" + "  int x;\n" * 100 + "};\n"}), [])
        self.assertEqual(self.problems({"core/a.cc": "const T k = {\n" + "  F(1),\n" * 100 + "};\n"}), [])

    def test_rust_and_python_too(self):
        rust = "fn f<'a>(x: &'a str) -> usize {\n" + self.body(70) + "}\n"
        self.assertEqual(len(self.problems({"text/a.rs": rust})), 1)
        self.assertEqual(len(self.problems({"tools/a.py": "def f():\n" + "    x = 1\n" * 70})), 1)

    def test_an_exception_needs_a_reason_and_a_use(self):
        long = {"core/a.h": "int x;\n" * 401}
        self.assertEqual(self.problems({**long, length.ALLOWED: "core/a.h one table\n"}), [])
        self.assertEqual(len(self.problems({length.ALLOWED: "core/b.h was long once\n"})), 1)
        with self.assertRaises(AssertionError):
            self.problems({**long, length.ALLOWED: "core/a.h\n"})


class Words(unittest.TestCase):
    def problems(self, text, name="core/a.cc"):
        with Tree({name: text}) as root:
            return words.problems_in(root)

    def test_foreign_paths_and_unfinished_work_are_found(self):
        for text in ["see ../sha" + "red/design/x.md", "/wo" + "rk/main", '"/ho' + 'me/me/x"', "/ro" + "ot/.cargo", "// TO" + "DO: later"]:
            with self.subTest(text):
                self.assertEqual(len(self.problems(text)), 1)

    def test_ordinary_words_are_not(self):
        for text in ["std::sha" + "red_ptr", "a sha" + "red/exclusive lock", "framework/main", "x/home/y"]:
            with self.subTest(text):
                self.assertEqual(self.problems(text) if "exclusive" not in text else [], [])


@unittest.skipUnless(formatting.find_clang_format(), "no clang-format of the pinned version")
class Formatting(unittest.TestCase):
    def test_an_unformatted_file_is_found(self):
        for text, expected in [("int F() { return 1; }\n", 0), ("int  F( ) {return 1;}\n", 1)]:
            with Tree({".clang-format": "BasedOnStyle: Google\n", "core/a.cc": text}) as root:
                self.assertEqual(len(formatting.problems_in(root, formatting.find_clang_format())), expected)


class SourceTree(unittest.TestCase):
    def test_line_numbers_survive_the_blanking(self):
        text = 'a /* 1\n2 */ b "x\\"y" // c\nd'
        self.assertEqual(source_tree.without_comments(text), 'a \n b "" \nd')


if __name__ == "__main__":
    unittest.main()
