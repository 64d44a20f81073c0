// Options: each component declares a small struct with its settings and, beside it, one table that names every key with its range, unit and
// a sentence. From the tables come the binding of a TOML recipe (unknown key = error with file, line and the nearest key), the resolved
// recipe stored with a run, and the reference page of all keys.
//
//   struct EngineOptions { int64_t max_batch = 64; };
//   inline void Declare(OptionTable& t, EngineOptions& o) {
//     t.Section("rollout", "how answers are generated");
//     t.Int("max_batch", &o.max_batch, {.min = 1, .unit = "sequences", .help = "sequences decoded together"});
//   }
//
// A table binds pointers: the struct must outlive the table. Not thread safe; recipes are read once at start.
#pragma once
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace candor {

struct OptionRange {
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
  std::string unit = "";
  std::string help = "";
  std::vector<std::string> choices = {};  // for strings: the allowed values
  bool required = false;
};

// One key of a section.
struct OptionKey {
  enum class Kind { kBool, kInt, kDouble, kString, kStringList, kTableList };
  std::string key;
  Kind kind = Kind::kBool;
  void* target = nullptr;
  OptionRange range;
  // kTableList only: makes element i and returns a table bound to it; called with a count of 0 to describe the element's keys.
  std::function<std::unique_ptr<class OptionTable>(size_t index)> element;
  std::function<void()> clear;   // kTableList only: empties the list before binding
  std::function<size_t()> size;  // kTableList only
};

struct OptionSection {
  std::string name;  // dotted: "trainer", "trainer.loss"; "" is the top level
  std::string help;
  std::vector<OptionKey> keys;
};

class OptionTable {
 public:
  OptionTable() = default;
  OptionTable(const OptionTable&) = delete;
  OptionTable& operator=(const OptionTable&) = delete;

  // Keys declared from here on belong to this section.
  void Section(std::string name, std::string help);
  void Bool(std::string key, bool* target, OptionRange range = {});
  void Int(std::string key, int64_t* target, OptionRange range = {});
  void Double(std::string key, double* target, OptionRange range = {});
  void String(std::string key, std::string* target, OptionRange range = {});
  void StringList(std::string key, std::vector<std::string>* target, OptionRange range = {});
  // An array of tables, such as [[objective]]: `declare(element_table, element)` describes one element.
  template <typename T>
  void TableList(std::string key, std::vector<T>* target, std::function<void(OptionTable&, T&)> declare, OptionRange range = {}) {
    OptionKey option{std::move(key), OptionKey::Kind::kTableList, target, std::move(range), {}, {}, {}};
    option.clear = [target] { target->clear(); };
    option.size = [target] { return target->size(); };
    option.element = [target, declare](size_t index) {
      auto table = std::make_unique<OptionTable>();
      table->Section("", "");
      static T description;  // keys of an element are described without one
      if (index == kDescribe) {
        description = T{};
        declare(*table, description);
      } else {
        if (target->size() <= index) target->resize(index + 1);
        declare(*table, (*target)[index]);
      }
      return table;
    };
    Add(std::move(option));
  }
  static constexpr size_t kDescribe = std::numeric_limits<size_t>::max();

  const std::vector<OptionSection>& sections() const { return sections_; }

 private:
  void Add(OptionKey key);
  std::vector<OptionSection> sections_;
};

// A recipe as merged text: files left to right (tables merge, lists are replaced), then "a.b=c" overrides.
class RecipeSource {
 public:
  RecipeSource();
  ~RecipeSource();
  RecipeSource(RecipeSource&&) noexcept;
  RecipeSource& operator=(RecipeSource&&) noexcept;

  // Errors name file:line:column. A file may start with `base = "other.toml"` (relative to it), which is merged below it.
  Status AddFile(const std::string& path);
  Status AddText(std::string_view text, const std::string& name);
  // "trainer.lr=1e-5": the value is read as TOML, else as a plain string.
  Status AddOverride(std::string_view override_text);
  // Fills the structs behind the table. Unknown keys, wrong types and values out of range are errors with file:line and the nearest known
  // key. The structs' elements of table lists must not be moved afterwards.
  Status Bind(OptionTable& table) const;
  // Where a key was written, "file:line" or the override; the name itself where it was not. Names as in errors: "trainer.lr",
  // "eval[1].path".
  std::string PlaceOf(const std::string& name) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// The bound structs as TOML text, every key with its value: what was really run. Binding the text again gives the same structs.
std::string ToToml(const OptionTable& table);
// Markdown: one table per section with key, default, range, unit and sentence.
std::string ReferencePage(const OptionTable& table);
// The known name nearest to `name` by edit distance, or "" when none is near.
std::string NearestName(std::string_view name, const std::vector<std::string>& known);

}  // namespace candor
