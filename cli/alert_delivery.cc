#include "cli/alert_delivery.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>
#include <stop_token>

#include "cli/config_file.h"
#include "cli/time_limit.h"
#include "cli/time_text.h"
#include "crypto/secret.h"
#include "ingest/byte_stream.h"
#include "ingest/child_process.h"
#include "repo/error.h"

namespace cairn::cli {
namespace {

constexpr std::chrono::seconds kCommandTimeout{60};

// Gives a program its input, and gathers what it writes, as far as that may be
// long.
std::string converse(ingest::ChildProcess& child, std::string_view input,
                     const std::stop_token& stop) {
  constexpr std::size_t kMostOutput = 4096;
  constexpr int kPatience = 50;  // ms
  ::fcntl(child.output(), F_SETFL,
          ::fcntl(child.output(), F_GETFL) | O_NONBLOCK);
  std::string output;
  bool is_open = true;
  while (is_open) {
    if (stop.stop_requested()) throw repo::Cancelled("it took too long");
    std::array<pollfd, 2> waits = {
        {{child.output(), POLLIN, 0},
         {input.empty() ? -1 : child.input(), POLLOUT, 0}}};
    (void)::poll(waits.data(), waits.size(), kPatience);
    if (!input.empty()) {
      const ssize_t count = ::write(child.input(), input.data(), input.size());
      if (count > 0) input.remove_prefix(static_cast<std::size_t>(count));
      // It has enough: how it ends tells whether that was right.
      if (count < 0 && errno != EAGAIN && errno != EINTR) input = {};
      if (input.empty()) child.close_input();
    }
    std::array<char, 1024> buffer{};
    const ssize_t count = ::read(child.output(), buffer.data(), buffer.size());
    if (count == 0) is_open = false;
    if (count < 0 && errno != EAGAIN && errno != EINTR) is_open = false;
    if (count > 0 && output.size() < kMostOutput) {
      output.append(buffer.data(), static_cast<std::size_t>(count));
    }
    if (is_open && count < 0 && input.empty() && !child.is_running()) break;
  }
  return output;
}

std::string first_line(const std::string& text) {
  return text.substr(0, std::min(text.find('\n'), text.size()));
}

// As curl's configuration has it.
void append_quoted(std::string& text, std::string_view value) {
  text += '"';
  for (const char c : value) {
    if (c == '"' || c == '\\') text += '\\';
    if (c == '\n') {
      text += "\\n";
    } else if (c != '\r') {
      text += c;
    }
  }
  text += "\"\n";
}

// All that curl is told comes by its standard input, since arguments can be
// seen by everyone on the machine. No redirect is followed: it would take the
// body to where nobody has configured.
void write_curl_configuration(std::string_view url, std::string_view body,
                              std::chrono::seconds timeout, std::string& text) {
  constexpr std::size_t kRoom = 1024;
  text.reserve(2 * (url.size() + body.size()) + kRoom);  // grown, it would leak
  text +=
      "silent\nshow-error\ngloboff\nproto = \"=http,https\"\noutput = "
      "\"/dev/null\"\n"
      "write-out = \"%{http_code}\"\nheader = \"Content-Type: "
      "application/json\"\nuser-agent = \"cairn\"\n";
  text += "max-time = " + std::to_string(timeout.count()) + "\nurl = ";
  append_quoted(text, url);
  text += "data-raw = ";
  append_quoted(text, body);
}

std::string why_curl_failed(const ingest::ChildProcess& child,
                            const std::string& what, std::string_view url) {
  std::string why = first_line(child.errors());
  if (why.empty()) why = what;
  for (auto at = why.find(url); at != std::string::npos && !url.empty();
       at = why.find(url)) {
    why.replace(at, url.size(), "URL");
  }
  return why;
}

std::string post(std::string_view url, const std::string& body,
                 std::chrono::seconds timeout) {
  // curl keeps its own limit; ours is for a curl that does not.
  const TimeLimit limit(timeout + std::chrono::seconds(2), {});
  ingest::ChildProcess child({"curl", "--disable", "--config", "-"},
                             ingest::ChildProcess::Input::pipe,
                             ingest::ChildProcess::Errors::kept);
  try {
    crypto::WipedText configuration("");
    write_curl_configuration(url, body, timeout, configuration.text);
    const auto status = converse(child, configuration.text, limit.token());
    child.wait(limit.token());
    const bool is_taken = status.size() == 3 && status.starts_with('2');
    return is_taken ? "" : "it answered " + first_line(status);
  } catch (const ingest::ProducerFailed& e) {
    return why_curl_failed(child, e.what(), url);
  }
}

std::string tell_webhook(const config::Webhook& webhook,
                         const std::string& body, Output& output) {
  if (!webhook.secret) return post(webhook.url, body, webhook.timeout);
  const auto secret = read_secret(*webhook.secret, output);
  const auto url = secret.view();
  if (!url.starts_with("http://") && !url.starts_with("https://")) {
    return webhook.secret->origin +
           ": what it points to does not begin with http:// or https://";
  }
  return post(url, body, webhook.timeout);
}

std::string tell_command(const std::vector<std::string>& command,
                         const std::string& body) {
  const TimeLimit limit(kCommandTimeout, {});
  ingest::ChildProcess child(command, ingest::ChildProcess::Input::pipe,
                             ingest::ChildProcess::Errors::ours);
  (void)converse(child, body + "\n", limit.token());
  child.wait(limit.token());
  return "";
}

}  // namespace

std::vector<std::string> channels_of(const config::Monitoring& monitoring) {
  std::vector<std::string> channels;
  if (monitoring.webhook) channels.emplace_back(kWebhookChannel);
  if (!monitoring.command.empty()) channels.emplace_back(kCommandChannel);
  return channels;
}

std::string deliver(const std::string& channel, const std::string& body,
                    const config::Monitoring& monitoring, Output& output) {
  try {
    if (channel == kWebhookChannel && monitoring.webhook) {
      return tell_webhook(*monitoring.webhook, body, output);
    }
    if (channel == kCommandChannel && !monitoring.command.empty()) {
      return tell_command(monitoring.command, body);
    }
    return "";  // configured no more
  } catch (const ingest::ProducerFailed& e) {
    return e.what();
  } catch (const repo::Error& e) {
    return e.what();
  }
}

}  // namespace cairn::cli
