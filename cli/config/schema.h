// The grammar as a JSON Schema (draft 07), by which editors complete and check
// cairn.yaml. docs/cairn.schema.json is this text.
#pragma once

#include <string>

namespace cairn::cli::config {

[[nodiscard]] std::string json_schema();

}  // namespace cairn::cli::config
