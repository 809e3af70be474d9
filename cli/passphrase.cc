#include "cli/passphrase.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>

#include "cli/interrupt.h"
#include "cli/question.h"
#include "repo/error.h"
#include "repo/key_file.h"
#include "repo/key_slot.h"

namespace cairn::cli {
namespace {

constexpr std::size_t kMaxBytes = 4096;
constexpr std::string_view kWhatToSet =
    "set CAIRN_KEY_FILE, CAIRN_PASSWORD_FILE or CAIRN_PASSWORD_COMMAND";

void wipe(std::span<char> text) { crypto::wipe(std::as_writable_bytes(text)); }

const char* variable(const char* name) {
  const char* const value = name ? std::getenv(name) : nullptr;
  return value && *value != '\0' ? value : nullptr;
}

// What was read so far, in one place that is wiped.
class Gathered {
 public:
  ~Gathered() { wipe(buffer_); }

  [[nodiscard]] std::span<char> room() {
    return std::span(buffer_).subspan(size_);
  }
  void took(std::size_t count) { size_ += count; }
  void drop_last() {
    if (size_ > 0) --size_;
  }
  void clear() { size_ = 0; }
  [[nodiscard]] std::string_view text() const {
    return {buffer_.data(), size_};
  }

  // Without the one line end that an editor or echo leaves.
  [[nodiscard]] SecretText line() const {
    std::string_view all = text();
    if (all.ends_with('\n')) all.remove_suffix(1);
    if (all.ends_with('\r')) all.remove_suffix(1);
    return SecretText(all);
  }

 private:
  std::array<char, kMaxBytes + 2> buffer_{};
  std::size_t size_ = 0;
};

// Everything up to the end of the file.
void read_all(int fd, const std::string& what, Gathered& into) {
  for (;;) {
    if (into.room().empty())
      throw repo::WrongKey(what + ": too long for a key");
    const ssize_t count = ::read(fd, into.room().data(), into.room().size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw repo::WrongKey(what + ": " + std::strerror(errno));
    if (count == 0) return;
    into.took(static_cast<std::size_t>(count));
  }
}

std::string assignment(const char* variable, std::string_view value) {
  return std::string(variable) + "=" + std::string(value);
}

// Who on this machine may read a file.
enum class Readers { its_owner, some, everybody };

Readers read_secret_file(const std::string& what, const std::string& path,
                         Gathered& into) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) throw repo::WrongKey(what + ": " + std::strerror(errno));
  const auto close = [](const int* open) { ::close(*open); };
  const std::unique_ptr<const int, decltype(close)> closer(&fd, close);
  read_all(fd, what, into);
  struct stat status {};
  if (::fstat(fd, &status) != 0 || !S_ISREG(status.st_mode) ||
      (status.st_mode & 077) == 0) {
    return Readers::its_owner;
  }
  return (status.st_mode & S_IROTH) != 0 ? Readers::everybody : Readers::some;
}

void warn_of_others(const std::string& path, Output& output) {
  output.warning(path + ": others on this machine may read it; chmod 600 it");
}

SecretText checked(SecretText text, const std::string& what) {
  if (text.view().empty()) {
    throw repo::WrongKey(what + ": holds no passphrase");
  }
  return text;
}

// The terminal without echo, for as long as it lives.
class SilentTerminal {
 public:
  SilentTerminal() {
    ::tcgetattr(STDIN_FILENO, &before_);
    termios silent = before_;
    silent.c_lflag &= static_cast<tcflag_t>(~ECHO);
    ::tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent);
  }
  SilentTerminal(const SilentTerminal&) = delete;
  SilentTerminal& operator=(const SilentTerminal&) = delete;
  ~SilentTerminal() { ::tcsetattr(STDIN_FILENO, TCSAFLUSH, &before_); }

 private:
  termios before_{};
};

}  // namespace

SecretText::SecretText(std::string_view text)
    : bytes_(text.begin(), text.end()) {}

SecretText& SecretText::operator=(SecretText&& other) noexcept {
  wipe(bytes_);
  bytes_ = std::move(other.bytes_);
  return *this;
}

SecretText::~SecretText() { wipe(bytes_); }

PasswordVariable::PasswordVariable() {
  constexpr const char* kName = "CAIRN_PASSWORD";
  char* const value = std::getenv(kName);
  if (!value) return;
  const std::span text(value, std::strlen(value));
  if (!text.empty()) text_.emplace(std::string_view(text.data(), text.size()));
  wipe(text);
  ::unsetenv(kName);
}

std::optional<crypto::Secret> key_file_from_environment(
    const KeyVariables& variables, Output& output) {
  const char* const path = variable(variables.key_file);
  if (!path) return std::nullopt;
  return read_key_file(variables.key_file, path, output);
}

crypto::Secret read_key_file(const std::string& variable,
                             const std::string& path, Output& output) {
  const std::string what = assignment(variable.c_str(), path);
  Gathered gathered;
  const Readers readers = read_secret_file(what, path, gathered);
  auto key = repo::parse_key_file(gathered.text());
  if (!key) throw repo::WrongKey(what + ": not a key file");
  // We made it, for its owner alone.
  if (readers == Readers::everybody) {
    throw repo::RefusedForSafety(
        what +
        ": everybody on this machine may read this key; if nobody can "
        "have, chmod 600 it; else make another with `cairn key add`, "
        "remove this one, and `cairn key rotate`");
  }
  if (readers != Readers::its_owner) warn_of_others(path, output);
  return std::move(*key);
}

std::optional<SecretText> passphrase_from_environment(
    const std::optional<SecretText>& password_variable,
    const KeyVariables& variables, Output& output) {
  if (password_variable) return SecretText(password_variable->view());
  if (const char* const path = variable(variables.password_file)) {
    return read_password_file(variables.password_file, path, output);
  }
  if (const char* const command = variable(variables.password_command)) {
    return run_password_command(variables.password_command, command);
  }
  return std::nullopt;
}

// Its standard input is empty, so that it cannot swallow the data of a
// `backup --stdin`.
SecretText run_password_command(const char* variable,
                                const std::string& command) {
  const std::string what = variable;
  const auto close = [](std::FILE* open) { (void)::pclose(open); };
  std::unique_ptr<std::FILE, decltype(close)> pipe(
      ::popen(("exec </dev/null\n" + command).c_str(), "re"), close);
  if (!pipe) throw repo::WrongKey(what + ": " + std::strerror(errno));
  Gathered gathered;
  read_all(::fileno(pipe.get()), what, gathered);
  const int status = ::pclose(pipe.release());
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    throw repo::WrongKey(what + ": the command failed");
  }
  return checked(gathered.line(), what);
}

SecretText read_password_file(const char* variable, const std::string& path,
                              Output& output) {
  const std::string what = assignment(variable, path);
  Gathered gathered;
  // Container engines mount secrets as they like.
  if (read_secret_file(what, path, gathered) != Readers::its_owner) {
    warn_of_others(path, output);
  }
  return checked(gathered.line(), what);
}

std::string origin_of_key(const std::optional<SecretText>& password_variable,
                          const KeyVariables& variables) {
  if (const char* const path = variable(variables.key_file)) {
    return assignment(variables.key_file, path);
  }
  if (password_variable) return "CAIRN_PASSWORD";  // its value stays unsaid
  if (const char* const path = variable(variables.password_file)) {
    return assignment(variables.password_file, path);
  }
  return variable(variables.password_command) ? variables.password_command : "";
}

SecretText ask_passphrase(std::string_view prompt) {
  if (!can_ask()) {
    throw repo::WrongKey("no passphrase, and no terminal to ask at; " +
                         std::string(kWhatToSet));
  }
  show_question(std::string(prompt) + ": ");
  Gathered gathered;
  {
    const Interrupt interrupt;
    const SilentTerminal silence;
    while (!gathered.text().ends_with('\n')) {
      std::array<pollfd, 2> ready{pollfd{STDIN_FILENO, POLLIN, 0},
                                  pollfd{interrupt.fd(), POLLIN, 0}};
      if (::poll(ready.data(), ready.size(), -1) < 0) continue;
      if (interrupt.received()) {
        std::fputs("\n", stderr);
        throw repo::Cancelled("stopped at the prompt");
      }
      if (gathered.room().empty()) {
        throw repo::WrongKey("too long for a passphrase");
      }
      // The terminal hands out whole lines.
      const ssize_t count =
          ::read(STDIN_FILENO, gathered.room().data(), gathered.room().size());
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) break;
      gathered.took(static_cast<std::size_t>(count));
    }
  }
  std::fputs("\n", stderr);
  return checked(gathered.line(), "the terminal");
}

SecretText ask_new_passphrase(std::string_view what) {
  auto first = ask_passphrase("New passphrase for " + std::string(what));
  const auto second = ask_passphrase("The same again");
  if (first.view() != second.view()) {
    throw repo::WrongKey("the two passphrases differ; nothing was done");
  }
  return first;
}

repo::Keyring open_keyring(const repo::Storage& storage,
                           const repo::Config& config, const KeyInput& key) {
  if (const auto* const secret = std::get_if<crypto::Secret>(&key)) {
    return repo::open_with_key_file(storage, config, *secret);
  }
  return repo::open_with_passphrase(storage, config,
                                    std::get<SecretText>(key).view());
}

}  // namespace cairn::cli
