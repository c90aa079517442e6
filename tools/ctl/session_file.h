// A session in a TOML file as parameters for session.add.
//
// Pure but for reading the file. The gateway checks what the values mean; here only the file's shape is.
#pragma once

#include <stdexcept>
#include <string>

#include <toml++/toml.h>

#include "tools/ctl/client.h"

namespace ctl {

// The text names file and line.
struct FileError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class SessionFile {
 public:
  // Either one [[session]] and any number of [[route]] into it, as in a gateway's configuration, or the keys
  // of a session by themselves with routes = [...]. Throws FileError.
  explicit SessionFile(std::string path);

  // secret_file is absolute: a relative one is meant beside this file.
  [[nodiscard]] const Json& params() const { return params_; }
  // The error of an answer with the line of each field; "" when it is none of fields.
  [[nodiscard]] std::string explain(const Json& error) const;

 private:
  void add_routes();
  [[nodiscard]] int line_of(std::string field) const;

  std::string path_;
  toml::table file_;
  const toml::table* session_ = nullptr;
  Json params_;
};

}  // namespace ctl
