// Assertions on what a run found: loss == 0 && mpps >= 1 && (p99_us < 250us || drops.auth == 0)
//
//   or      = and { "||" and }
//   and     = not { "&&" not }
//   not     = "!" not | "(" or ")" | value ("==" | "!=" | "<" | "<=" | ">" | ">=") value
//   value   = name | number [ "%" | "k" | "m" | "g" | "us" | "ms" ]
// % is a hundredth; k, m and g are 10^3, 10^6, 10^9; times of names are microseconds, so us is 1 and ms 1000.
//
// Pure; any thread.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace testpmd {

using Facts = std::map<std::string, double>;

class Expression {
 public:
  struct Node;

  // The expression, or nothing with what is wrong in `error`. Only `names` may stand in it.
  static std::optional<Expression> parse(std::string_view text, const std::vector<std::string>& names,
                                         std::string& error);
  Expression(Expression&&) noexcept;
  Expression& operator=(Expression&&) noexcept;
  ~Expression();

  struct Verdict {
    bool holds = false;
    std::string why;  // the comparisons that make it false, with the values found
  };
  // A name that `facts` don't have counts as 0.
  [[nodiscard]] Verdict evaluate(const Facts& facts) const;
  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  Expression(std::string text, std::unique_ptr<Node> root);

  std::string text_;
  std::unique_ptr<Node> root_;
};

}  // namespace testpmd
