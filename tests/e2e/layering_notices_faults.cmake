cmake_minimum_required(VERSION 3.25)

# Plants one include per rule of cmake/layering.cmake and expects every bad one
# to be named, and no good one. Run by ctest:
#   cmake -DROOT=<checkout> -DWORK=<scratch> -P <this file>
set(bad
  "crypto/a.h:repo/error.h"
  "crypto/b.h:sodium.h"
  "crypto/c.h:openssl/evp.h"
  "chunker/a.cc:crypto/digest.h"
  "repo/a.cc:ingest/file_source.h"
  "repo/b.h:chunker/chunker.h"
  "repo/c.cc:openssl/evp.h"
  "repo/d.cc:zstd.h"
  "repo/blob_index.h:rocksdb/db.h"
  "repo/e.cc:fmt/core.h"
  "ingest/a.cc:service/jobs.h"
  "ingest/b.cc:libpq-fe.h"
  "ingest/c.cc:nlohmann/json.hpp"
  "service/a.cc:cli/progress.h"
  "service/b.cc:CLI/CLI.hpp"
  "service/c.cc:date/tz.h"
  "cli/a.h:nlohmann/json_fwd.hpp"
  "cli/b.h:fmt/core.h"
  "cli/c.h:date/date.h"
  "cli/d.cc:CLI/CLI.hpp"
  "cli/e.cc:yaml-cpp/yaml.h"
  "cli/config/a.cc:cli/context.h"
  "cli/config/c.cc:yaml-cpp/parser.h")
set(good
  "crypto/good.cc:sodium.h"
  "repo/compression.cc:zstd.h"
  "repo/blob_index.cc:rocksdb/db.h"
  "repo/calendar.cc:date/tz.h"
  "repo/good.cc:crypto/digest.h"
  "ingest/postgres_source.cc:libpq-fe.h"
  "ingest/good.cc:chunker/chunker.h"
  "service/good.cc:ingest/file_source.h"
  "service/timetable.cc:date/tz.h"
  "cli/command_line.cc:CLI/CLI.hpp"
  "cli/more.cc:service/jobs.h"
  "cli/config/yaml_document.cc:yaml-cpp/parser.h"
  "cli/config/good.cc:cli/nearest.h"
  "cli/config/more.cc:cli/config/grammar.h")

file(REMOVE_RECURSE ${WORK})
foreach(plant IN LISTS bad good)
  string(REPLACE ":" ";" plant "${plant}")
  list(GET plant 0 file)
  list(GET plant 1 header)
  file(WRITE ${WORK}/${file} "#include <${header}>\n")
endforeach()

execute_process(
  COMMAND ${CMAKE_COMMAND} -DROOT=${WORK} -P ${ROOT}/cmake/layering.cmake
  RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
file(REMOVE_RECURSE ${WORK})

foreach(plant IN LISTS bad)
  string(REGEX REPLACE ":.*" ":" file "${plant}")
  string(FIND "${output}" "${file}" found)
  if(found EQUAL -1)
    message(SEND_ERROR "not noticed: ${plant}")
  endif()
endforeach()
list(LENGTH bad planted)
if(result EQUAL 0 OR NOT output MATCHES "${planted} layering fault")
  message(FATAL_ERROR "expected ${planted} faults, got:\n${output}")
endif()
