#include "core/options.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

namespace candor {

void OptionTable::Section(std::string name, std::string help) {
  for (OptionSection& section : sections_)
    if (section.name == name) {  // reopened: move it to the back so that new keys land in it
      std::rotate(sections_.begin() + (&section - sections_.data()), sections_.begin() + (&section - sections_.data()) + 1,
                  sections_.end());
      return;
    }
  sections_.push_back({std::move(name), std::move(help), {}});
}

void OptionTable::Add(OptionKey key) {
  if (sections_.empty()) Section("", "");
  sections_.back().keys.push_back(std::move(key));
}
void OptionTable::Bool(std::string key, bool* target, OptionRange range) {
  Add({std::move(key), OptionKey::Kind::kBool, target, std::move(range), {}, {}, {}});
}
void OptionTable::Int(std::string key, int64_t* target, OptionRange range) {
  Add({std::move(key), OptionKey::Kind::kInt, target, std::move(range), {}, {}, {}});
}
void OptionTable::Double(std::string key, double* target, OptionRange range) {
  Add({std::move(key), OptionKey::Kind::kDouble, target, std::move(range), {}, {}, {}});
}
void OptionTable::String(std::string key, std::string* target, OptionRange range) {
  Add({std::move(key), OptionKey::Kind::kString, target, std::move(range), {}, {}, {}});
}
void OptionTable::StringList(std::string key, std::vector<std::string>* target, OptionRange range) {
  Add({std::move(key), OptionKey::Kind::kStringList, target, std::move(range), {}, {}, {}});
}

std::string NearestName(std::string_view name, const std::vector<std::string>& known) {
  std::string best;
  constexpr size_t kMaxMisspelt = 200;  // a stranger's name may be megabytes; the distance takes the product of both lengths
  if (name.size() > kMaxMisspelt) return best;
  size_t best_distance = std::max<size_t>(2, name.size() / 2) + 1;
  for (const std::string& candidate : known) {
    std::vector<size_t> row(candidate.size() + 1);
    std::iota(row.begin(), row.end(), size_t{0});
    for (size_t i = 1; i <= name.size(); ++i) {
      size_t diagonal = row[0];
      row[0] = i;
      for (size_t j = 1; j <= candidate.size(); ++j) {
        size_t next = std::min({row[j] + 1, row[j - 1] + 1, diagonal + (name[i - 1] != candidate[j - 1])});
        diagonal = row[j];
        row[j] = next;
      }
    }
    if (row.back() < best_distance) best_distance = row.back(), best = candidate;
  }
  return best;
}

namespace {

std::string Quote(const std::string& text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\')
      out += '\\', out += c;
    else if (c == '\n')
      out += "\\n";
    else if (c == '\t')
      out += "\\t";
    else if (static_cast<unsigned char>(c) < 0x20)
      out += fmt::format("\\u{:04x}", static_cast<int>(c));
    else
      out += c;
  }
  return out + "\"";
}

std::string ScalarText(const OptionKey& key) {
  switch (key.kind) {
    case OptionKey::Kind::kBool:
      return *static_cast<bool*>(key.target) ? "true" : "false";
    case OptionKey::Kind::kInt:
      return std::to_string(*static_cast<int64_t*>(key.target));
    case OptionKey::Kind::kDouble: {
      std::string text = fmt::format("{}", *static_cast<double*>(key.target));
      return text.find_first_of(".einf") == std::string::npos ? text + ".0" : text;
    }
    case OptionKey::Kind::kString:
      return Quote(*static_cast<std::string*>(key.target));
    case OptionKey::Kind::kStringList: {
      std::string text;
      for (const std::string& item : *static_cast<std::vector<std::string>*>(key.target)) text += (text.empty() ? "" : ", ") + Quote(item);
      return "[" + text + "]";
    }
    case OptionKey::Kind::kTableList:
      break;
  }
  return "";
}

void WriteSections(const OptionTable& table, const std::string& prefix, std::string& out);

void WriteTableLists(const OptionSection& section, const std::string& path, std::string& out) {
  for (const OptionKey& key : section.keys) {
    if (key.kind != OptionKey::Kind::kTableList) continue;
    std::string name = path.empty() ? key.key : path + "." + key.key;
    for (size_t i = 0; i < key.size(); ++i) {
      out += "\n[[" + name + "]]\n";
      WriteSections(*key.element(i), name, out);
    }
  }
}

void WriteSections(const OptionTable& table, const std::string& prefix, std::string& out) {
  std::vector<const OptionSection*> sections;
  for (const OptionSection& section : table.sections()) sections.push_back(&section);
  std::stable_sort(sections.begin(), sections.end(), [](auto* a, auto* b) { return a->name.empty() > b->name.empty(); });
  for (const OptionSection* section : sections) {
    std::string path = section->name.empty() ? prefix : prefix.empty() ? section->name : prefix + "." + section->name;
    if (!section->name.empty()) out += "\n[" + path + "]\n";
    for (const OptionKey& key : section->keys)
      if (key.kind != OptionKey::Kind::kTableList) out += key.key + " = " + ScalarText(key) + "\n";
    if (!section->name.empty()) WriteTableLists(*section, path, out);
  }
  for (const OptionSection* section : sections)
    if (section->name.empty()) WriteTableLists(*section, prefix, out);
}

std::string RangeText(const OptionRange& range) {
  std::string text;
  if (!range.choices.empty()) {
    for (const std::string& choice : range.choices) text += (text.empty() ? "" : " \\| ") + choice;
    return text;
  }
  bool low = range.min > -std::numeric_limits<double>::infinity(), high = range.max < std::numeric_limits<double>::infinity();
  if (low && high)
    text = fmt::format("{} to {}", range.min, range.max);
  else if (low)
    text = fmt::format("at least {}", range.min);
  else if (high)
    text = fmt::format("at most {}", range.max);
  return text + (range.unit.empty() ? "" : (text.empty() ? "" : " ") + range.unit);
}

void WriteReference(const OptionTable& table, const std::string& prefix, std::string& out) {
  for (const OptionSection& section : table.sections()) {
    std::string path = section.name.empty() ? prefix : prefix.empty() ? section.name : prefix + "." + section.name;
    if (section.keys.empty()) continue;
    out += "\n## " + (path.empty() ? "Top level" : "`[" + path + "]`") + "\n\n" + (section.help.empty() ? "" : section.help + "\n\n");
    out += "| key | default | values | meaning |\n|---|---|---|---|\n";
    for (const OptionKey& key : section.keys)
      if (key.kind != OptionKey::Kind::kTableList)
        out += fmt::format("| `{}` | `{}` | {} | {} |\n", key.key, key.range.required ? "required" : ScalarText(key), RangeText(key.range),
                           key.range.help);
    for (const OptionKey& key : section.keys)
      if (key.kind == OptionKey::Kind::kTableList) {
        out += "\n### `[[" + (path.empty() ? key.key : path + "." + key.key) + "]]`\n\n" + key.range.help + "\n";
        WriteReference(*key.element(OptionTable::kDescribe), path.empty() ? key.key : path + "." + key.key, out);
      }
  }
}

}  // namespace

std::string ToToml(const OptionTable& table) {
  std::string out;
  WriteSections(table, "", out);
  return out;
}

std::string ReferencePage(const OptionTable& table) {
  std::string out =
      "# Recipe reference\n\nGenerated from the option tables beside the code that uses them; `candor check --reference` prints it.\n";
  WriteReference(table, "", out);
  return out;
}

}  // namespace candor
