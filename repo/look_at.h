// The one place where check catches: what keeps it from reading something
// becomes a finding, and it goes on.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "repo/error.h"
#include "repo/finding.h"

namespace cairn::repo {

// Why something could not be read.
struct Trouble {
  Severity severity;
  std::string_view code;
  std::string reason;
};

// What an object that is not there means: that it was removed since it was
// listed, or that it is lost.
enum class IfGone { it_vanished, it_is_damage };

// The code of what is sealed with keys that this run does not have: it is not
// judged, as what a newer program wrote.
inline constexpr std::string_view kMissingKeys = "missing-keys";

// The message of an error about `object`, without the object's name in front,
// which a finding gives apart.
[[nodiscard]] std::string reason_of(const Error& error,
                                    std::string_view object);

// Runs `look`. Nothing: it came to its end. Lets through what is no matter of
// the object: Cancelled, StorageUnreachable, OutOfSpace (of the cache folder:
// nothing is written elsewhere), LockedError, WrongKey.
template <typename Look>
[[nodiscard]] std::optional<Trouble> trouble_of(std::string_view code,
                                                std::string_view object,
                                                IfGone if_gone, Look look) {
  try {
    look();
    return std::nullopt;
  } catch (const StorageUnreachable&) {
    throw;
  } catch (const OutOfSpace&) {
    throw;
  } catch (const MissingKeys& e) {
    return Trouble{Severity::unsupported, kMissingKeys, reason_of(e, object)};
  } catch (const UnsupportedFormat& e) {
    return Trouble{Severity::unsupported, "unsupported", reason_of(e, object)};
  } catch (const CorruptionError& e) {
    return Trouble{Severity::damage, code, reason_of(e, object)};
  } catch (const IoError& e) {
    return Trouble{Severity::damage, code, reason_of(e, object)};
  } catch (const NotFound& e) {
    if (if_gone == IfGone::it_is_damage) {
      return Trouble{Severity::damage, code, reason_of(e, object)};
    }
    return Trouble{Severity::note, "vanished",
                   "was removed while it was looked for"};
  }
}

// The same for an object that was listed, with a finding of what is wrong.
// True: nothing is.
template <typename Look>
bool look_at(FindingList& findings, std::string_view code,
             const std::string& object, Look look) {
  auto trouble = trouble_of(code, object, IfGone::it_vanished, std::move(look));
  if (!trouble) return true;
  findings.add(trouble->severity, trouble->code, object,
               std::move(trouble->reason));
  return false;
}

}  // namespace cairn::repo
