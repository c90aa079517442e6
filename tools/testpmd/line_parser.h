// Words of a line, patterns of commands, and where a line stops being one of them.
//
// Pure; any thread. Blanks part words; # begins a comment, except inside '...' and "...".
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tools/testpmd/argument_kind.h"
#include "tools/testpmd/command.h"

namespace testpmd {

// One place of a pattern.
struct TokenSpec {
  std::vector<std::string> words;      // the word, or the choices; empty: a value
  const ArgumentKind* kind = nullptr;  // of a value
  bool rest = false;                   // a value that takes the rest of the line
  std::vector<std::string> reserved;   // a value that other commands have a word for, unless it is quoted

  [[nodiscard]] bool argument() const { return kind != nullptr || words.size() > 1; }
  [[nodiscard]] std::string expected() const;  // for people
  friend bool operator==(const TokenSpec& a, const TokenSpec& b) {
    return a.words == b.words && a.kind == b.kind && a.rest == b.rest;
  }
};

// A pattern without its [ ... ]: one form of a command.
struct Form {
  const Command* command = nullptr;
  std::vector<TokenSpec> tokens;
};

// All forms of a command. `kinds` outlives them. Throws std::logic_error for a pattern that is wrong.
std::vector<Form> forms_of(const Command& command, const ArgumentKinds& kinds);
// Fills TokenSpec::reserved.
void reserve_words(std::vector<Form>& forms);

// How many characters at the beginning of `text` (which begins with a word) this token takes; nothing: it
// doesn't fit.
std::optional<std::size_t> match_token(const TokenSpec& token, std::string_view text);
// What a token took, without its quotes.
std::string unquoted(std::string_view word);
std::string_view skip_blanks(std::string_view text);
bool end_of_command(std::string_view text);

// Why no form takes this line: where it stops, what was expected there, which words are near.
std::string explain(const std::vector<Form>& forms, std::string_view line);

}  // namespace testpmd
