#include "tools/testpmd/line_parser.h"

#include <algorithm>
#include <stdexcept>

#include <fmt/core.h>

#include "tools/testpmd/values.h"

namespace testpmd {
namespace {

bool blank(char c) {
  return c == ' ' || c == '\t';
}

bool ends_token(char c) {
  return c == '\0' || blank(c) || c == '#' || c == '\n' || c == '\r';
}

bool quote(char c) {
  return c == '\'' || c == '"';
}

// Length of the word that `text` begins with; nothing: a quote that isn't closed, or text behind it.
std::optional<std::size_t> word_length(std::string_view text) {
  std::size_t at = 0;
  if (!text.empty() && quote(text[0])) {
    at = text.find(text[0], 1);
    if (at == std::string_view::npos) return {};
    ++at;
    if (at < text.size() && !ends_token(text[at])) return {};
    return at;
  }
  while (at < text.size() && !ends_token(text[at])) ++at;
  return at;
}

// Up to the comment or the end, without blanks behind.
std::optional<std::size_t> rest_length(std::string_view text) {
  std::size_t at = 0;
  while (at < text.size() && text[at] != '#' && text[at] != '\n' && text[at] != '\r' && text[at] != '\0') {
    if (quote(text[at])) {
      const std::size_t closed = text.find(text[at], at + 1);
      if (closed == std::string_view::npos) return {};
      at = closed;
    }
    ++at;
  }
  while (at > 0 && blank(text[at - 1])) --at;
  return at;
}

bool contains(const std::vector<std::string>& words, std::string_view word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

std::vector<std::string> split_pattern(std::string_view pattern) {
  std::vector<std::string> parts;
  while (!(pattern = skip_blanks(pattern)).empty()) {
    const std::size_t end = std::min(pattern.find(' '), pattern.size());
    parts.emplace_back(pattern.substr(0, end));
    pattern.remove_prefix(end);
  }
  return parts;
}

TokenSpec value_token(const std::string& part, const ArgumentKinds& kinds) {
  TokenSpec token;
  std::string name = part.substr(1, part.size() - 2);
  if (name.ends_with("...")) {
    token.rest = true;
    name.resize(name.size() - 3);
  }
  const auto kind = kinds.find(name);
  if (kind == kinds.end()) throw std::logic_error("no kind of value is called " + name);
  token.kind = &kind->second;
  return token;
}

TokenSpec make_token(const std::string& part, const ArgumentKinds& kinds) {
  if (part.front() == '<' && part.back() == '>') return value_token(part, kinds);
  TokenSpec token;
  std::size_t from = 0;
  while (from <= part.size()) {
    const std::size_t to = std::min(part.find('|', from), part.size());
    token.words.push_back(part.substr(from, to - from));
    from = to + 1;
  }
  return token;
}

// The parts of a pattern with and without what the first [ ... ] holds.
std::vector<std::vector<std::string>> without_brackets(const std::vector<std::string>& parts) {
  const auto open = std::find(parts.begin(), parts.end(), "[");
  if (open == parts.end()) return {parts};
  int depth = 0;
  auto close = open;
  for (; close != parts.end(); ++close) {
    if (*close == "[") ++depth;
    if (*close == "]" && --depth == 0) break;
  }
  if (close == parts.end()) throw std::logic_error("a [ of a pattern is not closed");
  std::vector<std::string> shorter(parts.begin(), open), longer(parts.begin(), open);
  longer.insert(longer.end(), open + 1, close);
  shorter.insert(shorter.end(), close + 1, parts.end());
  longer.insert(longer.end(), close + 1, parts.end());
  std::vector<std::vector<std::string>> all = without_brackets(shorter);
  for (auto& form : without_brackets(longer)) all.push_back(std::move(form));
  return all;
}

// ---- explaining

// How far a form takes a line.
struct Reach {
  std::size_t tokens = 0;
  std::string_view left;  // begins with what the next token doesn't take, or with nothing
};

Reach reach(const Form& form, std::string_view line) {
  Reach at{0, skip_blanks(line)};
  while (at.tokens < form.tokens.size() && !end_of_command(at.left)) {
    const auto taken = match_token(form.tokens[at.tokens], at.left);
    if (!taken) break;
    at.left = skip_blanks(at.left.substr(*taken));
    ++at.tokens;
  }
  return at;
}

struct Expected {
  std::vector<std::string> words;   // that could stand there
  std::vector<std::string> values;  // kinds, described
  bool end = false;                 // or the line could be over
};

void add_once(std::vector<std::string>& list, const std::string& text) {
  if (!contains(list, text)) list.push_back(text);
}

void add_expected(Expected& expected, const Form& form, std::size_t place) {
  if (place >= form.tokens.size()) {
    expected.end = true;
    return;
  }
  const TokenSpec& token = form.tokens[place];
  for (const std::string& word : token.words) add_once(expected.words, word);
  if (token.kind != nullptr) add_once(expected.values, token.kind->expected);
}

// Words that a misspelled one may have meant: those of the commands, and names that values may have.
std::vector<std::string> candidates(const std::vector<Form>& forms, std::string_view line,
                                    std::size_t furthest) {
  std::vector<std::string> words;
  for (const Form& form : forms) {
    if (reach(form, line).tokens != furthest || furthest >= form.tokens.size()) continue;
    const TokenSpec& token = form.tokens[furthest];
    words.insert(words.end(), token.words.begin(), token.words.end());
    if (token.kind == nullptr || !token.kind->choices) continue;
    for (std::string& name : token.kind->choices()) words.push_back(std::move(name));
  }
  return words;
}

std::string expected_text(const Expected& expected) {
  std::string text;
  if (!expected.words.empty()) {
    text = (expected.words.size() > 1 ? "one of " : "") + listed(expected.words, 40);
  }
  for (const std::string& value : expected.values) text.append(text.empty() ? "" : "; or ").append(value);
  if (expected.end) text += text.empty() ? "the end of the line" : "; or the end of the line";
  return text;
}

std::string unknown_text(const std::vector<Form>& forms, std::string_view line, std::string_view left,
                         std::size_t furthest, const Expected& expected) {
  const std::string_view before = line.substr(0, line.size() - left.size());
  const auto length = word_length(left);
  const std::string column = fmt::format("column {}: ", before.size() + 1);
  if (!length) return column + "a quote is not closed, or text follows it without a blank";
  const std::string word(left.substr(0, *length));
  const std::string near = did_you_mean(word, candidates(forms, line, furthest));
  if (furthest == 0) return fmt::format("{}unknown command \"{}\"{} (`help` lists them)", column, word, near);
  const bool value = expected.words.empty() && !expected.values.empty();
  return fmt::format("{}{} \"{}\"{}; expected {}", column, value ? "wrong value" : "unknown word", word, near,
                     expected_text(expected));
}

}  // namespace

std::string TokenSpec::expected() const {
  return kind != nullptr ? kind->expected : listed(words);
}

std::vector<Form> forms_of(const Command& command, const ArgumentKinds& kinds) {
  std::vector<Form> forms;
  for (const auto& parts : without_brackets(split_pattern(command.pattern))) {
    Form form{&command, {}};
    for (const std::string& part : parts) form.tokens.push_back(make_token(part, kinds));
    if (form.tokens.empty()) throw std::logic_error("a pattern without a word");
    forms.push_back(std::move(form));
  }
  return forms;
}

void reserve_words(std::vector<Form>& forms) {
  for (Form& form : forms) {
    for (std::size_t place = 0; place < form.tokens.size(); ++place) {
      TokenSpec& token = form.tokens[place];
      if (token.kind == nullptr) continue;
      for (const Form& other : forms) {
        const auto end = static_cast<std::ptrdiff_t>(place);
        if (other.tokens.size() <= place) continue;
        if (!std::equal(form.tokens.begin(), form.tokens.begin() + end, other.tokens.begin())) continue;
        for (const std::string& word : other.tokens[place].words) add_once(token.reserved, word);
      }
    }
  }
}

std::optional<std::size_t> match_token(const TokenSpec& token, std::string_view text) {
  const auto length = token.rest ? rest_length(text) : word_length(text);
  if (!length || *length == 0) return {};
  const std::string_view word = text.substr(0, *length);
  if (token.kind == nullptr) return contains(token.words, word) ? length : std::nullopt;
  const std::string_view first = token.rest ? text.substr(0, word_length(text).value_or(0)) : word;
  if (contains(token.reserved, first)) return {};
  return token.kind->fits(unquoted(word)) ? length : std::nullopt;
}

std::string unquoted(std::string_view word) {
  const bool one = word.size() >= 2 && quote(word[0]) && word.find(word[0], 1) == word.size() - 1;
  return std::string(one ? word.substr(1, word.size() - 2) : word);
}

std::string_view skip_blanks(std::string_view text) {
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  return text;
}

bool end_of_command(std::string_view text) {
  return text.empty() || text[0] == '#' || text[0] == '\n' || text[0] == '\r' || text[0] == '\0';
}

std::string explain(const std::vector<Form>& forms, std::string_view line) {
  std::size_t furthest = 0;
  for (const Form& form : forms) furthest = std::max(furthest, reach(form, line).tokens);
  Expected expected;
  std::string_view left = skip_blanks(line);
  for (const Form& form : forms) {
    const Reach at = reach(form, line);
    if (at.tokens != furthest) continue;
    left = at.left;
    add_expected(expected, form, furthest);
  }
  if (!end_of_command(left)) return unknown_text(forms, line, left, furthest, expected);
  const std::string_view said = line.substr(0, line.size() - left.size());
  return fmt::format("column {}: the command is not complete; expected {}", said.size() + 1,
                     expected_text(expected));
}

}  // namespace testpmd
