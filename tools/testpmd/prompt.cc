#include "tools/testpmd/prompt.h"

#include <cstdio>
#include <memory>
#include <new>
#include <optional>
#include <string>

#include <cmdline_rdline.h>
#include <unistd.h>

#include "tools/testpmd/interrupt.h"
#include "tools/testpmd/terminal.h"

namespace testpmd {
namespace {

constexpr int kPollMs = 2;  // the control loop must not rest for longer

// What rdline's callbacks reach.
struct Editor {
  Console& console;
  std::string line;  // the last that was entered
  bool entered = false;
};

Editor& editor_of(struct rdline* line) {
  return *static_cast<Editor*>(rdline_get_opaque(line));
}

int write_char(struct rdline* line, char c) {
  return std::fputc(c, editor_of(line).console.settings().out) == EOF ? -1 : 0;
}

// rdline ends its text with a newline.
void on_line(struct rdline* line, const char* text, unsigned) {
  Editor& editor = editor_of(line);
  editor.line = text;
  while (!editor.line.empty() && (editor.line.back() == '\n' || editor.line.back() == '\r')) {
    editor.line.pop_back();
  }
  editor.entered = true;
}

int on_complete(struct rdline* line, const char* text, char* into, unsigned size, int* state) {
  return editor_of(line).console.table().complete(text, state, into, size);
}

struct FreeLine {
  void operator()(struct rdline* line) const { rdline_free(line); }
};
using Line = std::unique_ptr<struct rdline, FreeLine>;

// One line into editor.line. False: the end.
bool read_line(Editor& editor, struct rdline* line) {
  const KeyMode keys(STDIN_FILENO, false);
  std::FILE* const out = editor.console.settings().out;
  rdline_newline(line, kPromptText);
  std::fflush(out);
  editor.entered = false;
  while (!editor.entered) {
    editor.console.pump();
    if (termination_seen()) return false;
    const int key = read_key(STDIN_FILENO, kPollMs);
    if (key == -1) continue;
    const int answer = key == -2 ? RDLINE_RES_EOF : rdline_char_in(line, static_cast<char>(key));
    std::fflush(out);
    if (answer == RDLINE_RES_EOF || answer == RDLINE_RES_EXITED) {
      editor.console.print("\n");
      return false;
    }
  }
  return true;
}

void run_line(Editor& editor) {
  clear_interrupt();
  const Outcome outcome = editor.console.run(editor.line);
  if (!outcome.text.empty()) editor.console.print(outcome.text + "\n");
  if (interrupt_seen() && !termination_seen()) editor.console.print("interrupted\n");
  clear_interrupt();
}

}  // namespace

void run_prompt(Console& console) {
  Editor editor{console, {}, false};
  const Line line(rdline_new(write_char, on_line, on_complete, &editor));
  if (!line) throw std::bad_alloc();
  while (!console.leaving && read_line(editor, line.get())) {
    if (editor.line.find_first_not_of(" \t") == std::string::npos) continue;
    rdline_add_history(line.get(), editor.line.c_str());
    run_line(editor);
    if (termination_seen()) return;
  }
}

}  // namespace testpmd
