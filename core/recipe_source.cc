// RecipeSource: the one file that owns toml++. Files and overrides are merged into one tree whose nodes remember where they came from; Bind
// walks the option table over it.
#include <fmt/format.h>

#include <stdexcept>

namespace candor {
// What toml++ meets in its own assertions: some malformed texts end there, and a bad recipe must be an error, not an abort.
struct TomlAssertion : std::runtime_error {
  using std::runtime_error::runtime_error;
};
[[noreturn]] static void ThrowTomlAssertion(const char* what) { throw TomlAssertion(what); }
}  // namespace candor
#define TOML_ASSERT(expression) (static_cast<bool>(expression) ? void() : ::candor::ThrowTomlAssertion(#expression))
#include <toml++/toml.h>

#include <cctype>
#include <charconv>
#include <filesystem>
#include <set>

#include "core/fs.h"
#include "core/options.h"

namespace candor {

namespace {

std::string Place(const toml::node& node) {
  const toml::source_region& source = node.source();
  if (!source.path) return "";
  if (source.begin.line == 0) return *source.path;
  return fmt::format("{}:{}", *source.path, source.begin.line);
}

Status Merge(toml::table& into, toml::table&& from);

// `objective.1.weight=2`: the keys of an override that meets a list are places in it, counted from 0.
Status MergeIntoList(std::string_view name, toml::array& list, toml::table&& from) {
  for (auto&& [key, node] : from) {
    size_t index = 0;
    const char* end = key.str().data() + key.str().size();
    const auto [stop, bad] = std::from_chars(key.str().data(), end, index);
    toml::table* element = bad == std::errc() && stop == end && index < list.size() ? list[index].as_table() : nullptr;
    toml::table* sub = node.as_table();
    if (!element || !sub)
      return Fail(ErrorCode::kInvalidInput,
                  fmt::format("`{}.{}` is nothing that can be set: `{}` is a list of {}", name, key.str(), name, list.size()), Place(node),
                  fmt::format("count from 0, for example {}.0.key=value", name));
    CANDOR_TRY(Merge(*element, std::move(*sub)));
  }
  return {};
}

// Tables merge, everything else is replaced. Nodes are moved: a copy would forget its place in the file.
Status Merge(toml::table& into, toml::table&& from) {
  for (auto&& [key, node] : from) {
    toml::node* existing = into.get(key.str());
    toml::table* sub = node.as_table();
    if (sub && existing && existing->is_table()) {
      CANDOR_TRY(Merge(*existing->as_table(), std::move(*sub)));
    } else if (sub && existing && existing->is_array()) {
      CANDOR_TRY(MergeIntoList(key.str(), *existing->as_array(), std::move(*sub)));
    } else {
      const std::string_view name = key.str();
      node.visit([&](auto&& concrete) { into.insert_or_assign(name, std::move(concrete)); });
    }
  }
  return {};
}

class Binder {
 public:
  Status Table(OptionTable& options, const toml::table& root, const std::string& path) {
    std::set<std::string> section_names;
    for (const OptionSection& section : options.sections()) section_names.insert(section.name);
    for (const OptionSection& section : options.sections()) {
      const toml::table* at = Find(root, section.name);
      for (const OptionKey& key : section.keys) {
        const toml::node* node = at ? at->get(key.key) : nullptr;
        std::string name = Join(Join(path, section.name), key.key);
        if (!node) {
          if (key.range.required) return Fail(ErrorCode::kInvalidInput, "the recipe lacks the key `" + name + "`", "", key.range.help);
          continue;
        }
        CANDOR_TRY(Value(key, *node, name));
      }
    }
    return RefuseUnknown(options, root, "", path);
  }

 private:
  static std::string Join(const std::string& a, const std::string& b) { return a.empty() ? b : b.empty() ? a : a + "." + b; }

  static const toml::table* Find(const toml::table& root, const std::string& dotted) {
    const toml::table* at = &root;
    for (size_t begin = 0; at && begin < dotted.size();) {
      size_t end = std::min(dotted.find('.', begin), dotted.size());
      const toml::node* node = at->get(dotted.substr(begin, end - begin));
      at = node ? node->as_table() : nullptr;
      begin = end + 1;
    }
    return at;
  }

  static tl::unexpected<Error> Wrong(const toml::node& node, const std::string& name, const std::string& wanted) {
    return Fail(ErrorCode::kInvalidInput, fmt::format("`{}` must be {}", name, wanted), Place(node));
  }

  Status Value(const OptionKey& key, const toml::node& node, const std::string& name) {
    switch (key.kind) {
      case OptionKey::Kind::kBool: {
        auto value = node.value_exact<bool>();
        if (!value) return Wrong(node, name, "true or false");
        *static_cast<bool*>(key.target) = *value;
        return {};
      }
      case OptionKey::Kind::kInt: {
        auto value = node.value_exact<int64_t>();
        if (!value) return Wrong(node, name, "a whole number");
        if (!InRange(key.range, static_cast<double>(*value))) return OutOfRange(key, node, name, fmt::format("{}", *value));
        *static_cast<int64_t*>(key.target) = *value;
        return {};
      }
      case OptionKey::Kind::kDouble: {
        auto value = node.value<double>();
        if (!value || !node.is_number()) return Wrong(node, name, "a number");
        if (!InRange(key.range, *value)) return OutOfRange(key, node, name, fmt::format("{}", *value));
        *static_cast<double*>(key.target) = *value;
        return {};
      }
      case OptionKey::Kind::kString: {
        auto value = node.value_exact<std::string>();
        if (!value) return Wrong(node, name, "a string in quotes");
        if (!key.range.choices.empty() && std::find(key.range.choices.begin(), key.range.choices.end(), *value) == key.range.choices.end())
          return BadChoice(key, node, name, *value);
        *static_cast<std::string*>(key.target) = *value;
        return {};
      }
      case OptionKey::Kind::kStringList:
        return Strings(key, node, name);
      case OptionKey::Kind::kTableList:
        return Tables(key, node, name);
    }
    return {};
  }

  static bool InRange(const OptionRange& range, double value) { return range.min <= value && value <= range.max; }

  static tl::unexpected<Error> OutOfRange(const OptionKey& key, const toml::node& node, const std::string& name, const std::string& value) {
    return Fail(ErrorCode::kInvalidInput,
                fmt::format("`{}` = {} is out of range: {} <= {} <= {}{}", name, value, key.range.min, key.key, key.range.max,
                            key.range.unit.empty() ? "" : " " + key.range.unit),
                Place(node), key.range.help);
  }

  static tl::unexpected<Error> BadChoice(const OptionKey& key, const toml::node& node, const std::string& name, const std::string& value) {
    std::string nearest = NearestName(value, key.range.choices);
    return Fail(ErrorCode::kInvalidInput, fmt::format("`{}` = \"{}\" is not one of: {}", name, value, fmt::join(key.range.choices, ", ")),
                Place(node), nearest.empty() ? "" : "did you mean \"" + nearest + "\"?");
  }

  Status Strings(const OptionKey& key, const toml::node& node, const std::string& name) {
    std::vector<std::string> values;
    if (auto one = node.value_exact<std::string>()) {
      values.push_back(*one);
    } else {
      const toml::array* array = node.as_array();
      if (!array) return Wrong(node, name, "a list of strings");
      for (const toml::node& item : *array) {
        auto value = item.value_exact<std::string>();
        if (!value) return Wrong(item, name, "a list of strings");
        if (!key.range.choices.empty() && std::find(key.range.choices.begin(), key.range.choices.end(), *value) == key.range.choices.end())
          return BadChoice(key, item, name, *value);
        values.push_back(*value);
      }
    }
    *static_cast<std::vector<std::string>*>(key.target) = std::move(values);
    return {};
  }

  Status Tables(const OptionKey& key, const toml::node& node, const std::string& name) {
    const toml::array* array = node.as_array();
    if (!array) return Wrong(node, name, "an array of tables ([[" + name + "]])");
    key.clear();
    for (size_t i = 0; i < array->size(); ++i) {
      const toml::table* element = (*array)[i].as_table();
      if (!element) return Wrong((*array)[i], name, "an array of tables ([[" + name + "]])");
      auto table = key.element(i);
      CANDOR_TRY(Table(*table, *element, fmt::format("{}[{}]", name, i)));
    }
    return {};
  }

  // Every key of the file must belong to a section of the table.
  static Status RefuseUnknown(const OptionTable& options, const toml::table& at, const std::string& section, const std::string& path) {
    std::vector<std::string> known;
    for (const OptionSection& candidate : options.sections()) {
      if (candidate.name == section)
        for (const OptionKey& key : candidate.keys) known.push_back(key.key);
      const std::string prefix = section.empty() ? "" : section + ".";
      if (candidate.name != section && candidate.name.rfind(prefix, 0) == 0)
        known.push_back(candidate.name.substr(prefix.size(), candidate.name.find('.', prefix.size()) - prefix.size()));
    }
    for (auto&& [key, node] : at) {
      std::string name(key.str());
      if (std::find(known.begin(), known.end(), name) == known.end()) {
        std::string nearest = NearestName(name, known);
        return Fail(ErrorCode::kInvalidInput, "unknown key `" + Join(Join(path, section), name) + "`", Place(node),
                    nearest.empty() ? "known here: " + fmt::format("{}", fmt::join(known, ", ")) : "did you mean `" + nearest + "`?");
      }
      bool is_key = false;
      for (const OptionSection& candidate : options.sections())
        if (candidate.name == section)
          for (const OptionKey& option : candidate.keys) is_key = is_key || option.key == name;
      if (is_key) continue;
      const toml::table* sub = node.as_table();
      if (!sub) return Wrong(node, Join(Join(path, section), name), "a table ([" + Join(section, name) + "])");
      CANDOR_TRY(RefuseUnknown(options, *sub, Join(section, name), path));
    }
    return {};
  }
};

}  // namespace

struct RecipeSource::Impl {
  toml::table root;
  std::set<std::string> open_files;  // guards against a base chain that loops
};

RecipeSource::RecipeSource() : impl_(std::make_unique<Impl>()) {}
RecipeSource::~RecipeSource() = default;
RecipeSource::RecipeSource(RecipeSource&&) noexcept = default;
RecipeSource& RecipeSource::operator=(RecipeSource&&) noexcept = default;

namespace {

constexpr size_t kMaxRecipeBytes = size_t{1} << 20;
constexpr int kMaxKeyParts = 64;  // toml++ limits nested values but not dotted keys, and tables are walked and freed recursively

// The line of the first key with too many parts; 0 when there is none. A part needs a character, so that "....." in a text is none.
int LineOfDeepKey(std::string_view text) {
  int line = 1, parts = 0;
  char before = '\n';
  for (char c : text) {
    line += c == '\n';
    const bool key_character =
        std::isalnum(static_cast<unsigned char>(c)) || std::string_view("_-\"' \t").find(c) != std::string_view::npos;
    if (c == '.')
      parts += before != '.';
    else if (!key_character)
      parts = 0;
    if (parts >= kMaxKeyParts) return line;
    before = c;
  }
  return 0;
}

Result<toml::table> Parse(std::string_view text, const std::string& name) {
  constexpr const char* kFix = "recipes are TOML: see docs/recipe-reference.md";
  if (text.size() > kMaxRecipeBytes)
    return Fail(ErrorCode::kInvalidInput, fmt::format("the recipe has {} bytes, more than {}", text.size(), kMaxRecipeBytes), name, kFix);
  if (const size_t zero = text.find('\0'); zero != std::string_view::npos)
    return Fail(ErrorCode::kInvalidInput, "the recipe holds a zero byte", fmt::format("{}: byte {}", name, zero), kFix);
  if (const int line = LineOfDeepKey(text); line > 0)
    return Fail(ErrorCode::kInvalidInput, fmt::format("a key has more than {} parts", kMaxKeyParts), fmt::format("{}:{}", name, line),
                kFix);
  try {
    return toml::parse(text, name);
  } catch (const toml::parse_error& error) {
    return Fail(ErrorCode::kInvalidInput, std::string(error.description()),
                fmt::format("{}:{}:{}", name, error.source().begin.line, error.source().begin.column), kFix);
  } catch (const TomlAssertion&) {
    return Fail(ErrorCode::kInvalidInput, "this is not TOML: a key, a value or a bracket is missing its end", name, kFix);
  }
}

}  // namespace

Status RecipeSource::AddFile(const std::string& path) {
  std::error_code ignored;
  std::string canonical = std::filesystem::weakly_canonical(path, ignored).string();
  if (!std::filesystem::is_regular_file(path, ignored))
    return Fail(ErrorCode::kNotFound, "there is no recipe file " + path, "", "recipes/ holds the ones that come with Candor");
  if (!impl_->open_files.insert(canonical).second) return Fail(ErrorCode::kInvalidInput, "the recipe is its own base", path);
  CANDOR_ASSIGN(const std::string text, ReadFile(path, kMaxRecipeBytes));
  CANDOR_ASSIGN(toml::table parsed, Parse(text, path));
  if (const toml::node* base = parsed.get("base")) {
    auto name = base->value_exact<std::string>();
    if (!name) return Fail(ErrorCode::kInvalidInput, "`base` must be the path of another recipe, in quotes", Place(*base));
    CANDOR_TRY(AddFile((std::filesystem::path(path).parent_path() / *name).string()));
    parsed.erase("base");
  }
  CANDOR_TRY(Merge(impl_->root, std::move(parsed)));
  impl_->open_files.erase(canonical);
  return {};
}

Status RecipeSource::AddText(std::string_view text, const std::string& name) {
  CANDOR_ASSIGN(toml::table parsed, Parse(text, name));
  return Merge(impl_->root, std::move(parsed));
}

Status RecipeSource::AddOverride(std::string_view override_text) {
  size_t equals = override_text.find('=');
  if (equals == std::string_view::npos || equals == 0)
    return Fail(ErrorCode::kInvalidInput, fmt::format("`{}` is not an override", override_text), "",
                "write key.key=value, for example trainer.lr=1e-5");
  std::string key(override_text.substr(0, equals)), value(override_text.substr(equals + 1));
  std::string name = "override " + std::string(override_text);
  Result<toml::table> parsed = Parse(key + " = " + value, name);
  if (parsed) {  // no key is a date or a time, and 04:00:00 is a time limit as people write it
    const auto given = parsed->at_path(key);
    if (given.is_time() || given.is_date() || given.is_date_time()) parsed = Fail(ErrorCode::kInvalidInput, "a time");
  }
  if (!parsed) parsed = Parse(key + " = '''" + value + "'''", name);  // not TOML as it stands: a bare word
  if (!parsed) return Fail(parsed.error());
  return Merge(impl_->root, std::move(*parsed));
}

Status RecipeSource::Bind(OptionTable& table) const { return Binder().Table(table, impl_->root, ""); }

std::string RecipeSource::PlaceOf(const std::string& name) const {
  const auto found = impl_->root.at_path(name);
  return found ? Place(*found.node()) : name;
}

}  // namespace candor
