#include "service/systemd_units.h"

#include <algorithm>
#include <stdexcept>

#include "service/systemd_calendar.h"

namespace cairn::service {
namespace {

constexpr std::string_view kSection = "[X-Cairn]";  // systemd passes it by

// '%' begins a specifier everywhere, also in what is no word of a command.
std::string plain(std::string_view text) {
  std::string made;
  for (const char c : text) {
    made += c;
    if (c == '%') made += c;
  }
  return made;
}

// In quotes, as the words of a command and of lists of paths are read.
std::string quoted(std::string_view text) {
  std::string made = "\"";
  for (const char c : plain(text)) {
    if (c == '"' || c == '\\') made += '\\';
    made += c;
  }
  return made + "\"";
}

bool is_plain_word(std::string_view text) {
  constexpr std::string_view kPlain = "_-./:=@+,";
  for (const char c : text) {
    const bool is_letter = ('a' <= c && c <= 'z') || ('A' <= c && c <= 'Z') ||
                           ('0' <= c && c <= '9');
    if (!is_letter && kPlain.find(c) == kPlain.npos) return false;
  }
  return !text.empty();
}

std::string word(std::string_view text) {
  return is_plain_word(text) ? std::string(text) : quoted(text);
}

// Of a command: '$' begins a variable there.
std::string argument(std::string_view text) {
  std::string made;
  for (const char c : text) {
    made += c;
    if (c == '$') made += c;
  }
  return word(made);
}

// The first word of a command: no variable begins in it, and what systemd takes
// for no name of a program cannot be said by any quotes.
std::string program(std::string_view path) {
  const bool has_special = std::ranges::any_of(path, [](char c) {
    return static_cast<unsigned char>(c) < ' ' || c == '\x7f' || c == '"' ||
           c == '\'' || c == '\\';
  });
  if (has_special) {
    throw std::invalid_argument(
        "systemd runs no program whose path has a quote, a backslash or a line "
        "end in it; move cairn from " +
        std::string(path));
  }
  return word(path);
}

std::string origin_section(const UnitJob& job) {
  std::string text = std::string(kSection) + "\n";
  text += "Job=" + job.name + "\n";
  text += "Configuration=" + job.configuration + "\n";
  if (job.frequency) text += "Frequency=" + *job.frequency + "\n";
  if (job.retention) text += "Retention=" + *job.retention + "\n";
  return text;
}

std::string head(const UnitJob& job, const std::string& description) {
  return "# Made by `cairn schedule install`, which writes it anew; changes "
         "belong in\n# a drop-in (systemctl edit) or in the configuration "
         "file.\n[Unit]\nDescription=cairn: " +
         description + " " + plain(job.name) + " of " +
         plain(job.configuration) + "\n";
}

// What the manager of a user may not do is left out of his units; where nobody
// knows what runs, all of it, since that may need sudo.
std::string hardening(const UnitJob& job) {
  const bool is_of_user = job.manager == UnitJob::Manager::user;
  if (is_of_user && !job.writable) return "";
  std::string text =
      "NoNewPrivileges=yes\n"
      "LockPersonality=yes\n"
      "RestrictRealtime=yes\n"
      "SystemCallArchitectures=native\n";
  if (is_of_user) return text;
  text +=
      "ProtectClock=yes\n"
      "ProtectHostname=yes\n"
      "ProtectKernelLogs=yes\n"
      "ProtectKernelModules=yes\n"
      "ProtectKernelTunables=yes\n"
      "ProtectControlGroups=yes\n"
      "RestrictNamespaces=yes\n";
  if (!job.writable) return text + "ProtectSystem=full\n";
  text += "ProtectSystem=strict\nReadWritePaths=";
  bool is_first = true;
  for (const auto& folder : *job.writable) {
    text += (is_first ? "" : " ") + word(folder);
    is_first = false;
  }
  return text + "\n";
}

std::string service_text(const UnitJob& job) {
  std::string text = head(job, "job");
  if (job.manager == UnitJob::Manager::system) {
    text += "Wants=network-online.target\nAfter=network-online.target\n";
  }
  text += "\n[Service]\nType=oneshot\nExecStart=";
  bool is_first = true;
  for (const auto& part : job.command) {
    text += is_first ? program(part) : " " + argument(part);
    is_first = false;
  }
  text += "\n";
  for (const auto& [name, value] : job.environment) {
    text += "Environment=" + quoted(name + "=" + value) + "\n";
  }
  text +=
      "KillMode=mixed\n"
      "TimeoutStopSec=5min\n"
      "Nice=10\n"
      "IOSchedulingClass=best-effort\n"
      "IOSchedulingPriority=7\n";
  return text + hardening(job) + "\n" + origin_section(job);
}

std::string timer_text(const UnitJob& job) {
  std::string text = head(job, "timer of job") + "\n[Timer]\n";
  for (const auto& line : systemd_calendar(job.timetable)) {
    text += "OnCalendar=" + line + "\n";
  }
  text += "AccuracySec=1s\n";
  if (job.jitter.count() > 0) {
    text += "RandomizedDelaySec=" + std::to_string(job.jitter.count()) + "s\n";
  }
  text += std::string("Persistent=") + (job.catches_up ? "true" : "false") +
          "\n\n[Install]\nWantedBy=timers.target\n\n";
  return text + origin_section(job);
}

}  // namespace

std::vector<Unit> units_of(const UnitJob& job) {
  const std::string name = "cairn-" + job.name;
  return {{name + ".service", service_text(job)},
          {name + ".timer", timer_text(job)}};
}

std::optional<UnitOrigin> origin_of(std::string_view text) {
  const auto at = text.find(std::string(kSection) + "\n");
  if (at == text.npos) return std::nullopt;
  text.remove_prefix(at);
  UnitOrigin origin;
  while (!text.empty()) {
    const auto end = text.find('\n');
    const auto line = text.substr(0, end);
    text.remove_prefix(end == text.npos ? text.size() : end + 1);
    const auto equals = line.find('=');
    if (equals == line.npos) continue;
    const auto key = line.substr(0, equals);
    const std::string value(line.substr(equals + 1));
    if (key == "Job") origin.job = value;
    if (key == "Configuration") origin.configuration = value;
    if (key == "Frequency") origin.frequency = value;
    if (key == "Retention") origin.retention = value;
  }
  if (origin.job.empty() || origin.configuration.empty()) return std::nullopt;
  return origin;
}

}  // namespace cairn::service
