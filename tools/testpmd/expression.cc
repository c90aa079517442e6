#include "tools/testpmd/expression.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <utility>

#include <fmt/core.h>

#include "tools/testpmd/values.h"

namespace testpmd {

enum class Kind { kOr, kAnd, kNot, kCompare };
enum class Relation { kEqual, kNotEqual, kLess, kLessEqual, kGreater, kGreaterEqual };

struct Operand {
  std::string name;  // empty: a number
  double number = 0;
  std::string text;  // as written

  [[nodiscard]] double value(const Facts& facts) const {
    if (name.empty()) return number;
    const auto fact = facts.find(name);
    return fact == facts.end() ? 0 : fact->second;
  }
};

struct Expression::Node {
  Kind kind = Kind::kCompare;
  std::vector<std::unique_ptr<Node>> parts;  // of kOr, kAnd; one of kNot
  Relation relation = Relation::kEqual;
  Operand left, right;
  std::string text;
};

namespace {

using Node = Expression::Node;
using NodePtr = std::unique_ptr<Node>;
constexpr unsigned kDeepest = 64;

struct RelationText {
  std::string_view text;
  Relation relation;
};
// The longer ones first.
constexpr std::array kRelations = {
    RelationText{"==", Relation::kEqual},        RelationText{"!=", Relation::kNotEqual},
    RelationText{"<=", Relation::kLessEqual},    RelationText{"<", Relation::kLess},
    RelationText{">=", Relation::kGreaterEqual}, RelationText{">", Relation::kGreater}};

struct UnitText {
  std::string_view text;
  double factor;
};
constexpr std::array kUnits = {UnitText{"us", 1},  UnitText{"ms", 1e3}, UnitText{"%", 0.01},
                               UnitText{"k", 1e3}, UnitText{"m", 1e6},  UnitText{"g", 1e9}};

bool name_char(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '.' || c == '-';
}

class Parser {
 public:
  Parser(std::string_view text, const std::vector<std::string>& names) : text_(text), names_(names) {}

  NodePtr run() {
    NodePtr root = alternatives();
    skip();
    if (root && at_ < text_.size()) return fail("expected &&, || or the end");
    return root;
  }
  std::string error;

 private:
  NodePtr fail(const std::string& what) {
    if (error.empty()) error = fmt::format("'{}', column {}: {}", text_, at_ + 1, what);
    return nullptr;
  }
  void skip() {
    while (at_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[at_])) != 0) ++at_;
  }
  bool take(std::string_view word) {
    skip();
    if (!text_.substr(at_).starts_with(word)) return false;
    at_ += word.size();
    return true;
  }

  NodePtr alternatives() {
    return chain(Kind::kOr, "||", [this] { return chain(Kind::kAnd, "&&", [this] { return term(); }); });
  }

  template <typename Next>
  NodePtr chain(Kind kind, std::string_view separator, const Next& next) {
    NodePtr first = next();
    if (!first || !take(separator)) return first;
    auto node = std::make_unique<Node>();
    node->kind = kind;
    node->parts.push_back(std::move(first));
    do {
      NodePtr part = next();
      if (!part) return nullptr;
      node->parts.push_back(std::move(part));
    } while (take(separator));
    return node;
  }

  NodePtr term() {
    if (depth_ >= kDeepest) return fail("too many ( and !");
    ++depth_;
    NodePtr node = negation_or_group();
    --depth_;
    return node;
  }

  NodePtr negation_or_group() {
    skip();
    const std::size_t from = at_;
    if (!text_.substr(at_).starts_with("!=") && take("!")) {
      auto node = std::make_unique<Node>();
      node->kind = Kind::kNot;
      NodePtr part = term();
      if (!part) return nullptr;
      node->parts.push_back(std::move(part));
      node->text = std::string(text_.substr(from, at_ - from));
      return node;
    }
    if (!take("(")) return comparison();
    NodePtr inner = alternatives();
    if (inner && !take(")")) return fail("expected )");
    return inner;
  }

  NodePtr comparison() {
    skip();
    const std::size_t from = at_;
    auto node = std::make_unique<Node>();
    if (!operand(node->left)) return nullptr;
    const auto relation = std::find_if(kRelations.begin(), kRelations.end(),
                                       [this](const RelationText& known) { return take(known.text); });
    if (relation == kRelations.end()) return fail("expected ==, !=, <, <=, > or >=");
    node->relation = relation->relation;
    if (!operand(node->right)) return nullptr;
    node->text = std::string(text_.substr(from, at_ - from));
    return node;
  }

  bool operand(Operand& into) {
    skip();
    const std::size_t from = at_;
    const char c = at_ < text_.size() ? text_[at_] : '\0';
    const bool good = std::isalpha(static_cast<unsigned char>(c)) != 0 ? name(into) : number(into);
    into.text = std::string(text_.substr(from, at_ - from));
    return good;
  }

  bool name(Operand& into) {
    const std::size_t from = at_;
    while (at_ < text_.size() && name_char(text_[at_])) ++at_;
    into.name = std::string(text_.substr(from, at_ - from));
    if (std::find(names_.begin(), names_.end(), into.name) != names_.end()) return true;
    at_ = from;
    const std::string near = did_you_mean(into.name, names_);
    fail(fmt::format("unknown name \"{}\"{}", into.name,
                     near.empty() ? "; known are " + listed(names_, 20) : near));
    return false;
  }

  bool number(Operand& into) {
    const char* const begin = text_.data() + at_;
    const auto [end, code] =
        std::from_chars(begin, text_.data() + text_.size(), into.number, std::chars_format::fixed);
    if (code != std::errc{} || !std::isfinite(into.number)) {
      fail("expected a name or a number");
      return false;
    }
    at_ += static_cast<std::size_t>(end - begin);
    const std::size_t unit = at_;
    while (at_ < text_.size() && (name_char(text_[at_]) || text_[at_] == '%')) ++at_;
    const std::string_view written = text_.substr(unit, at_ - unit);
    if (written.empty()) return true;
    for (const UnitText& known : kUnits) {
      if (known.text != written) continue;
      into.number *= known.factor;
      return true;
    }
    at_ = unit;
    fail(fmt::format("unknown unit \"{}\"; there are %, k, m, g, us, ms", written));
    return false;
  }

  std::string_view text_;
  const std::vector<std::string>& names_;
  std::size_t at_ = 0;
  unsigned depth_ = 0;
};

bool compare(Relation relation, double a, double b) {
  switch (relation) {
    case Relation::kEqual:
      return a == b;
    case Relation::kNotEqual:
      return a != b;
    case Relation::kLess:
      return a < b;
    case Relation::kLessEqual:
      return a <= b;
    case Relation::kGreater:
      return a > b;
    case Relation::kGreaterEqual:
      return a >= b;
  }
  return false;
}

std::string value_text(double value) {
  if (std::floor(value) == value && std::abs(value) < 1e15) return fmt::format("{:.0f}", value);
  return fmt::format("{:.6g}", value);
}

std::string found_text(const Node& node, const Facts& facts) {
  std::string found;
  for (const Operand* side : {&node.left, &node.right}) {
    if (side->name.empty()) continue;
    found += fmt::format("{}{} = {}", found.empty() ? "" : ", ", side->name, value_text(side->value(facts)));
  }
  return node.text + " is false" + (found.empty() ? "" : ": " + found);
}

Expression::Verdict evaluate(const Node& node, const Facts& facts);

// Of an "and" the parts that are false; of an "or" all of them.
Expression::Verdict evaluate_parts(const Node& node, const Facts& facts) {
  Expression::Verdict all{node.kind == Kind::kAnd, {}};
  for (const auto& part : node.parts) {
    const Expression::Verdict one = evaluate(*part, facts);
    all.holds = node.kind == Kind::kAnd ? all.holds && one.holds : all.holds || one.holds;
    if (!one.holds) all.why.append(all.why.empty() ? "" : "; ").append(one.why);
  }
  if (all.holds) all.why.clear();
  return all;
}

Expression::Verdict evaluate(const Node& node, const Facts& facts) {
  if (node.kind == Kind::kCompare) {
    const bool holds = compare(node.relation, node.left.value(facts), node.right.value(facts));
    return {holds, holds ? "" : found_text(node, facts)};
  }
  if (node.kind == Kind::kNot) {
    const bool holds = !evaluate(*node.parts.front(), facts).holds;
    return {holds, holds ? "" : node.text + " is false"};
  }
  return evaluate_parts(node, facts);
}

}  // namespace

Expression::Expression(std::string text, std::unique_ptr<Node> root)
    : text_(std::move(text)), root_(std::move(root)) {}
Expression::Expression(Expression&&) noexcept = default;
Expression& Expression::operator=(Expression&&) noexcept = default;
Expression::~Expression() = default;

std::optional<Expression> Expression::parse(std::string_view text, const std::vector<std::string>& names,
                                            std::string& error) {
  Parser parser(text, names);
  std::unique_ptr<Node> root = parser.run();
  if (!root) {
    error = parser.error;
    return {};
  }
  return Expression(std::string(text), std::move(root));
}

Expression::Verdict Expression::evaluate(const Facts& facts) const {
  return testpmd::evaluate(*root_, facts);
}

}  // namespace testpmd
