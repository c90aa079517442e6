#include "tools/testpmd/command_table.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <set>
#include <stdexcept>

#include <cmdline.h>
#include <cmdline_parse.h>
#include <fmt/core.h>

#include "tools/testpmd/values.h"

namespace testpmd {
namespace {

// What a token leaves in cmdline's result buffer: its place in the line.
struct Slot {
  const char* at = nullptr;
  std::uint32_t length = 0;
};
constexpr std::size_t kMostTokens = CMDLINE_PARSE_RESULT_BUFSIZE / sizeof(Slot);

// A token of cmdline's, with ours behind it.
struct Token {
  cmdline_token_hdr header;
  const TokenSpec* spec = nullptr;
};

const TokenSpec& spec_of(cmdline_parse_token_hdr_t* header) {
  return *reinterpret_cast<Token*>(header)->spec;
}

int parse_token(cmdline_parse_token_hdr_t* header, const char* text, void* result, unsigned room) {
  const auto taken = match_token(spec_of(header), text);
  if (!taken) return -1;
  if (result != nullptr && room >= sizeof(Slot)) {
    const Slot slot{text, static_cast<std::uint32_t>(*taken)};
    std::memcpy(result, &slot, sizeof(slot));
  }
  return static_cast<int>(*taken);
}

std::vector<std::string> choices_of(const TokenSpec& spec) {
  if (spec.kind == nullptr) return spec.words;
  return spec.kind->choices ? spec.kind->choices() : std::vector<std::string>{};
}

int count_choices(cmdline_parse_token_hdr_t* header) {
  return static_cast<int>(choices_of(spec_of(header)).size());
}

void copy_text(const std::string& text, char* into, unsigned size) {
  if (size == 0) return;
  const std::size_t length = std::min<std::size_t>(text.size(), size - 1);
  std::memcpy(into, text.data(), length);
  into[length] = '\0';
}

int give_choice(cmdline_parse_token_hdr_t* header, int index, char* into, unsigned size) {
  const std::vector<std::string> choices = choices_of(spec_of(header));
  if (index < 0 || static_cast<std::size_t>(index) >= choices.size()) return -1;
  copy_text(choices[static_cast<std::size_t>(index)], into, size);
  return 0;
}

int give_help(cmdline_parse_token_hdr_t* header, char* into, unsigned size) {
  const TokenSpec& spec = spec_of(header);
  copy_text(spec.kind != nullptr ? "<" + spec.kind->name + ">" : spec.expected(), into, size);
  return 0;
}

cmdline_token_ops token_ops = {parse_token, count_choices, give_choice, give_help};

// What the matched command leaves for parse(): cmdline calls it with the result and the form.
struct Match {
  const Form* form = nullptr;
  Args args;
};
Match* match = nullptr;  // of the parse() that runs (main lcore)

void on_match(void* result, struct cmdline*, void* data) {
  match->form = static_cast<const Form*>(data);
  for (std::size_t i = 0; i < match->form->tokens.size(); ++i) {
    if (!match->form->tokens[i].argument()) continue;
    Slot slot;
    std::memcpy(&slot, static_cast<const char*>(result) + i * sizeof(Slot), sizeof(slot));
    match->args.push(unquoted({slot.at, slot.length}));
  }
}

struct FreeInstruction {
  void operator()(cmdline_inst* instruction) const { std::free(instruction); }  // NOLINT: ends in an array
};
using Instruction = std::unique_ptr<cmdline_inst, FreeInstruction>;

// cmdline_inst ends in an array of pointers that a null pointer closes.
Instruction make_instruction(const Form& form, std::vector<Token>& tokens) {
  const std::size_t bytes = sizeof(cmdline_inst) + (tokens.size() + 1) * sizeof(cmdline_parse_token_hdr_t*);
  Instruction made(static_cast<cmdline_inst*>(std::calloc(1, bytes)));  // NOLINT: as above
  if (made == nullptr) throw std::bad_alloc();
  made->f = on_match;
  made->data = const_cast<Form*>(&form);
  made->help_str = form.command->help.c_str();
  for (std::size_t i = 0; i < tokens.size(); ++i) made->tokens[i] = &tokens[i].header;
  return made;
}

std::vector<Token> make_tokens(const Form& form) {
  if (form.tokens.size() > kMostTokens) throw std::logic_error("a pattern with too many words");
  std::vector<Token> tokens;
  for (std::size_t i = 0; i < form.tokens.size(); ++i) {
    tokens.push_back({{&token_ops, static_cast<unsigned>(i * sizeof(Slot))}, &form.tokens[i]});
  }
  return tokens;
}

}  // namespace

struct CommandTable::Cmdline {
  explicit Cmdline(const std::vector<Form>& forms) {
    tokens.reserve(forms.size());
    for (const Form& form : forms) {
      tokens.push_back(make_tokens(form));
      instructions.push_back(make_instruction(form, tokens.back()));
      context.push_back(instructions.back().get());
    }
    context.push_back(nullptr);
    // Without files it only holds the context: lines come through parse().
    line = cmdline_new(context.data(), "", -1, -1);
    if (line == nullptr) throw std::bad_alloc();
  }
  ~Cmdline() { cmdline_free(line); }
  Cmdline(const Cmdline&) = delete;
  Cmdline& operator=(const Cmdline&) = delete;

  std::vector<std::vector<Token>> tokens;
  std::vector<Instruction> instructions;
  std::vector<cmdline_parse_ctx_t> context;
  struct cmdline* line = nullptr;
  std::set<std::string> listed;  // choices that this listing has shown
};

CommandTable::CommandTable(std::vector<Command> commands, ArgumentKinds kinds)
    : commands_(std::move(commands)), kinds_(std::move(kinds)) {
  for (const Command& command : commands_) {
    for (Form& form : forms_of(command, kinds_)) forms_.push_back(std::move(form));
  }
  reserve_words(forms_);
  cmdline_ = std::make_unique<Cmdline>(forms_);
}

CommandTable::~CommandTable() = default;

CommandTable::Parsed CommandTable::parse(const std::string& line) const {
  Parsed parsed;
  if (line.find('\0') != std::string::npos) {
    parsed.error = "the line holds a zero byte";
    return parsed;
  }
  Match found;
  match = &found;
  const std::string ended = line + "\n";
  const int code = cmdline_parse(cmdline_->line, ended.c_str());
  match = nullptr;
  if (code == CMDLINE_PARSE_AMBIGUOUS) {
    parsed.error = "more than one command has this form";
  } else if (code < 0) {
    parsed.error = explain(forms_, line);
  } else if (found.form != nullptr) {
    parsed.command = found.form->command;
    parsed.args = std::move(found.args);
  }
  return parsed;
}

// cmdline lists a choice once for every command that has it, with that command's help; a user wants to see
// it once. For a value without choices its kind and the command's help are what there is to say.
int CommandTable::complete(const char* line, int* state, char* into, unsigned size) {
  if (*state <= 0) cmdline_->listed.clear();
  while (true) {
    const int code = cmdline_complete(cmdline_->line, line, state, into, size);
    if (code != CMDLINE_PARSE_COMPLETE_AGAIN) return code;
    std::string shown(into);
    const std::size_t bracket = shown.find(" [");
    if (bracket != std::string::npos) shown.resize(bracket);
    if (!cmdline_->listed.insert(shown).second) continue;
    copy_text(shown, into, size);
    return code;
  }
}

std::string CommandTable::help(const std::string& words) const {
  std::string text;
  for (const Command& command : commands_) {
    const bool fits = words.empty() || command.pattern == words || command.pattern.starts_with(words + " ") ||
                      command.pattern.find(" " + words) != std::string::npos;
    if (!fits) continue;
    if (command.pattern.size() > 38) {
      text += fmt::format("  {}\n  {:38}  {}\n", command.pattern, "", command.help);
    } else {
      text += fmt::format("  {:38}  {}\n", command.pattern, command.help);
    }
  }
  return text;
}

}  // namespace testpmd
