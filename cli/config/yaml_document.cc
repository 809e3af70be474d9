#include "cli/config/yaml_document.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <sstream>
#include <utility>

#include "cli/printable.h"

namespace cairn::cli::config {
namespace {

// The package counts from 0, and says -1 where it does not know.
Place place_of(const YAML::Mark& mark) {
  if (mark.line < 0 || mark.column < 0) return {};
  return {static_cast<unsigned>(mark.line) + 1,
          static_cast<unsigned>(mark.column) + 1};
}

YamlNode node_at(const YAML::Mark& mark, YamlNode::Kind kind) {
  YamlNode node;
  node.kind = kind;
  node.place = place_of(mark);
  return node;
}

// What ends the reading at once.
struct GivenUp {
  Mistake mistake;
};

// Builds the tree from what the package's parser meets, one event after
// another.
class Builder : public YAML::EventHandler {
 public:
  explicit Builder(Mistakes& mistakes) : mistakes_(mistakes) {}

  [[nodiscard]] YamlNode take() && { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark& /*mark*/) override {}
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t /*anchor*/) override {
    take_value(node_at(mark, YamlNode::Kind::nothing));
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t /*anchor*/) override {
    complain(mark, "aliases (*name) are not read; write it out");
    take_value(node_at(mark, YamlNode::Kind::nothing));
  }

  void OnAnchor(const YAML::Mark& mark, const std::string& /*name*/) override {
    complain(mark, "anchors (&name) are not read; take it away");
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag,
                YAML::anchor_t /*anchor*/, const std::string& value) override {
    check_tag(mark, tag);
    if (expects_key()) {
      take_key(mark, value);
      return;
    }
    auto node = node_at(mark, YamlNode::Kind::scalar);
    node.text = value;
    node.is_quoted = tag == "!";  // the package's word for it, of blocks, too
    take_value(std::move(node));
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag,
                       YAML::anchor_t /*anchor*/,
                       YAML::EmitterStyle::value /*style*/) override {
    begin(mark, tag, YamlNode::Kind::sequence);
  }
  void OnSequenceEnd() override { end(); }

  void OnMapStart(const YAML::Mark& mark, const std::string& tag,
                  YAML::anchor_t /*anchor*/,
                  YAML::EmitterStyle::value /*style*/) override {
    begin(mark, tag, YamlNode::Kind::mapping);
  }
  void OnMapEnd() override { end(); }

 private:
  // A mapping or sequence that has not ended.
  struct Open {
    YamlNode node;
    std::optional<YamlEntry> entry;  // whose value is to come
    bool is_key = false;             // it stands where a key should
  };

  void complain(const YAML::Mark& mark, std::string text) {
    mistakes_.push_back({place_of(mark), "", std::move(text)});
  }

  void check_tag(const YAML::Mark& mark, const std::string& tag) {
    if (tag.empty() || tag == "?" || tag == "!") return;
    complain(mark, "tags (!name) are not read; take it away");
  }

  [[nodiscard]] bool expects_key() const {
    return !open_.empty() &&
           open_.back().node.kind == YamlNode::Kind::mapping &&
           !open_.back().entry;
  }

  void take_key(const YAML::Mark& mark, const std::string& key) {
    count_node(mark);
    open_.back().entry = YamlEntry{key, place_of(mark), {}};
  }

  void begin(const YAML::Mark& mark, const std::string& tag,
             YamlNode::Kind kind) {
    check_tag(mark, tag);
    count_node(mark);
    if (open_.size() == kMaxYamlDepth) {
      throw GivenUp{{place_of(mark), "",
                     "more than " + std::to_string(kMaxYamlDepth) +
                         " levels inside each other"}};
    }
    const bool is_key = expects_key();
    if (is_key) complain(mark, "a key must be a word");
    open_.push_back({node_at(mark, kind), {}, is_key});
  }

  void end() {
    Open ended = std::move(open_.back());
    open_.pop_back();
    if (ended.is_key) {
      open_.back().entry = YamlEntry{};
      return;
    }
    add(std::move(ended.node));
  }

  void take_value(YamlNode node) {
    if (++nodes_ > kMaxYamlNodes) give_up_on_size(node.place);
    if (expects_key()) {
      mistakes_.push_back({node.place, "", "a key must be a word"});
      open_.back().entry = YamlEntry{};
      return;
    }
    add(std::move(node));
  }

  void add(YamlNode node) {
    if (open_.empty()) {
      root_ = std::move(node);
      return;
    }
    Open& inner = open_.back();
    if (inner.node.kind == YamlNode::Kind::sequence) {
      inner.node.items.push_back(std::move(node));
      return;
    }
    inner.entry->value = std::move(node);
    add_entry(inner.node, std::move(*inner.entry));
    inner.entry.reset();
  }

  void add_entry(YamlNode& mapping, YamlEntry entry) {
    if (entry.key.empty()) {
      // Without a place it stands for what was complained of already.
      if (entry.place.line > 0) {
        mistakes_.push_back({entry.place, "", "a key without a name"});
      }
      return;
    }
    const auto same =
        std::ranges::find(mapping.entries, entry.key, &YamlEntry::key);
    if (same != mapping.entries.end()) {
      mistakes_.push_back({entry.place, "",
                           "the key '" + harmless(entry.key) +
                               "' is there already, in line " +
                               std::to_string(same->place.line)});
      return;
    }
    mapping.entries.push_back(std::move(entry));
  }

  void count_node(const YAML::Mark& mark) {
    if (++nodes_ > kMaxYamlNodes) give_up_on_size(place_of(mark));
  }

  [[noreturn]] static void give_up_on_size(const Place& place) {
    throw GivenUp{
        {place, "",
         "more than " + std::to_string(kMaxYamlNodes) + " keys and values"}};
  }

  Mistakes& mistakes_;
  std::vector<Open> open_;
  YamlNode root_;
  std::size_t nodes_ = 0;
};

// The line of that number, from 1.
std::string_view line_at(std::string_view text, unsigned line) {
  for (; line > 1; --line) {
    const auto end = text.find('\n');
    if (end == std::string_view::npos) return {};
    text.remove_prefix(end + 1);
  }
  return text.substr(0, text.find('\n'));
}

// What the package says, and the cause that it does not know by name.
std::string explained(const YAML::Exception& e, std::string_view text) {
  const auto line = line_at(text, place_of(e.mark).line);
  const auto indent = line.substr(0, line.find_first_not_of(" \t"));
  if (indent.find('\t') != std::string_view::npos) {
    return "a tab at the beginning of the line; YAML wants spaces there";
  }
  return "this is no YAML: " + e.msg;
}

Place place_of_control(std::string_view text, std::size_t at) {
  const auto before = text.substr(0, at);
  const auto line_begin = before.rfind('\n');
  return {static_cast<unsigned>(std::ranges::count(before, '\n')) + 1,
          static_cast<unsigned>(
              line_begin == std::string_view::npos ? at : at - line_begin - 1) +
              1};
}

}  // namespace

std::optional<YamlNode> parse_yaml(std::string_view text, Mistakes& mistakes) {
  if (text.size() > kMaxYamlBytes) {
    mistakes.push_back(
        {{},
         "",
         "larger than " + std::to_string(kMaxYamlBytes >> 10) + " KiB"});
    return std::nullopt;
  }
  if (!is_utf8(text)) {
    mistakes.push_back({{}, "", "is not UTF-8"});
    return std::nullopt;
  }
  if (const auto zero = text.find('\0'); zero != std::string_view::npos) {
    mistakes.push_back(
        {place_of_control(text, zero), "", "a zero byte is no text"});
    return std::nullopt;
  }
  std::istringstream in{std::string(text)};
  Builder builder(mistakes);
  try {
    YAML::Parser parser(in);
    if (!parser.HandleNextDocument(builder)) {
      mistakes.push_back({{}, "", "there is nothing in it"});
      return std::nullopt;
    }
    Mistakes of_others;
    Builder other(of_others);
    if (parser.HandleNextDocument(other)) {
      mistakes.push_back({{}, "", "several documents (---); one is read"});
    }
  } catch (const GivenUp& given_up) {
    mistakes.push_back(given_up.mistake);
    return std::nullopt;
  } catch (const YAML::Exception& e) {
    mistakes.push_back({place_of(e.mark), "", explained(e, text)});
    return std::nullopt;
  }
  return std::move(builder).take();
}

}  // namespace cairn::cli::config
