#include "cli/wal_teller.h"

#include <utility>

#include "cli/printable.h"
#include "cli/quantity.h"

namespace cairn::cli {

WalTeller::WalTeller(Context& context, std::string series)
    : context_(context), series_(std::move(series)) {}

void WalTeller::receiving(const ingest::WalStart& start) {
  const auto& stream = start.stream;
  if (context_.output.is_json()) {
    Json json = Json::line("wal_receiving", context_.now());
    json.set("series", series_)
        .set("server", start.place)
        .set("server_version", start.version)
        .set("slot", start.slot)
        .set("system_identifier", std::to_string(stream.system))
        .set("timeline", stream.timeline)
        .set("lsn", to_string(stream.start));
    print(json);
    return;
  }
  context_.output.note(
      "receiving WAL of cluster " + std::to_string(stream.system) +
      ", timeline " + std::to_string(stream.timeline) + ", from " +
      to_string(stream.start) + " on, of " + printable(start.place) +
      " by slot " + start.slot + ", for series " + printable(series_));
}

void WalTeller::flushed(const ingest::WalFlush& flush) {
  {
    const std::lock_guard lock(mutex_);
    ++flushes_;
    bytes_ += flush.end.value - flush.begin.value;
    bytes_stored_ += flush.bytes_stored;
  }
  for (const auto& text : flush.warnings) context_.output.warning(text);
  if (flush.began_anew) {
    context_.output.warning("a new stream begins at " + to_string(flush.begin) +
                            ": " + *flush.began_anew);
  }
  if (flush.trimmed_from) {
    context_.output.detail("left out WAL from " +
                           to_string(*flush.trimmed_from) + " to " +
                           to_string(flush.stream.start) +
                           ", which precedes the oldest base backup");
  }
  if (context_.output.is_json()) {
    Json json = Json::line("wal_flushed", context_.now());
    json.set("snapshot_id", flush.snapshot.hex())
        .set("timeline", flush.stream.timeline)
        .set("stream_begin", to_string(flush.stream.start))
        .set("begin", to_string(flush.begin))
        .set("end", to_string(flush.end))
        .set("bytes", flush.end.value - flush.begin.value)
        .set("bytes_stored", flush.bytes_stored)
        .set("began_anew", flush.began_anew.has_value())
        .set("trimmed", flush.trimmed_from.has_value());
    print(json);
    return;
  }
  context_.output.detail("stored WAL from " + to_string(flush.begin) + " to " +
                         to_string(flush.end) + " as " +
                         flush.snapshot.brief() + ", " +
                         size_text(flush.bytes_stored) + " stored");
}

void WalTeller::gap(const ingest::WalGap& gap) {
  context_.output.warning(
      "GAP: WAL of timeline " + std::to_string(gap.timeline) + " from " +
      to_string(gap.from) + " to " + to_string(gap.to) + " is lost, since " +
      gap.why +
      ". No moment after the first and before a new base backup can be "
      "recovered; take one now");
  if (!context_.output.is_json()) return;
  Json json = Json::line("wal_gap", context_.now());
  json.set("timeline", gap.timeline)
      .set("from", to_string(gap.from))
      .set("to", to_string(gap.to))
      .set("reason", gap.why);
  print(json);
}

void WalTeller::note(const std::string& text) { context_.output.note(text); }

void WalTeller::warning(const std::string& text) {
  context_.output.warning(text);
}

void WalTeller::sum_up() {
  if (context_.output.is_json()) {
    Json json = Json::line("summary", context_.now());
    json.set("series", series_)
        .set("flushes", flushes_)
        .set("bytes", bytes_)
        .set("bytes_stored", bytes_stored_);
    print(json);
    return;
  }
  context_.output.note("stored " + size_text(bytes_) + " of WAL in " +
                       counted(flushes_, "snapshot") + ", " +
                       size_text(bytes_stored_) + " in the repository");
}

void WalTeller::print(const Json& json) {
  const std::lock_guard lock(mutex_);
  context_.output.json(json);
  context_.output.flush();
}

}  // namespace cairn::cli
