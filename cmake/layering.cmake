cmake_minimum_required(VERSION 3.25)

# Fails when a folder includes what it must not know. Run by ctest:
#   cmake -DROOT=<checkout> -P cmake/layering.cmake
#
# One line per folder: the folders it may include. Itself is always allowed.
set(crypto_may_include  "")
set(chunker_may_include "")
set(repo_may_include    crypto)
set(ingest_may_include  repo chunker crypto)
set(service_may_include ingest repo chunker crypto)
set(cli_may_include     service ingest repo chunker crypto)

# A folder inside another: what of that one it may include. It is a layer of its
# own, below the rest.
set(folders_inside cli/config)
set(cli/config_may_include
  cli/config/ cli/nearest.h cli/printable.h cli/quantity.h)

# One line per package: the files that may include it. Headers never may.
set(sodium_only_in       "^crypto/[a-z0-9_]+\\.cc$")
set(openssl/_only_in     "^(crypto/[a-z0-9_]+|ingest/redis_tls)\\.cc$")
set(zstd_only_in         "^repo/compression\\.cc$")
set(rocksdb/_only_in     "^repo/[a-z_]*index[a-z_]*\\.cc$")
set(libpq-fe.h_only_in   "^ingest/postgres[a-z_]*\\.cc$")
set(date/_only_in
  "^(repo/(retention|calendar)|service/timetable|cli/)[a-z_]*\\.cc$")
set(fmt/_only_in         "^(ingest|cli)/[a-z0-9_]+\\.cc$")
set(nlohmann/_only_in    "^(service/(run_log|alert_state)|cli/[a-z_]+)\\.cc$")
set(CLI/_only_in         "^cli/command_line\\.cc$")
set(yaml-cpp/_only_in    "^cli/config/yaml_document\\.cc$")

set(folders crypto chunker repo ingest service cli)
set(packages sodium openssl/ zstd rocksdb/ libpq-fe.h date/ fmt/ nlohmann/ CLI/
  yaml-cpp/)
set(faults 0)

foreach(folder IN LISTS folders)
  file(GLOB_RECURSE files RELATIVE ${ROOT}
    ${ROOT}/${folder}/*.h ${ROOT}/${folder}/*.cc)
  foreach(file IN LISTS files)
    file(STRINGS ${ROOT}/${file} includes REGEX "^ *# *include ")
    foreach(line IN LISTS includes)
      foreach(other IN LISTS folders)
        if(line MATCHES "[<\"]${other}/" AND NOT other STREQUAL folder
           AND NOT other IN_LIST ${folder}_may_include)
          message("${file}: ${folder}/ must not know ${other}/  (${line})")
          math(EXPR faults "${faults}+1")
        endif()
      endforeach()
      foreach(package IN LISTS packages)
        if(line MATCHES "[<\"]${package}"
           AND NOT file MATCHES "${${package}_only_in}")
          message("${file}: ${package} does not belong here  (${line})")
          math(EXPR faults "${faults}+1")
        endif()
      endforeach()
    endforeach()
  endforeach()
endforeach()

foreach(folder IN LISTS folders_inside)
  string(REGEX REPLACE "/.*" "" outer ${folder})
  file(GLOB_RECURSE files RELATIVE ${ROOT}
    ${ROOT}/${folder}/*.h ${ROOT}/${folder}/*.cc)
  foreach(file IN LISTS files)
    file(STRINGS ${ROOT}/${file} includes REGEX "^ *# *include ")
    foreach(line IN LISTS includes)
      if(NOT line MATCHES "[<\"](${outer}/[^>\"]*)")
        continue()
      endif()
      set(included ${CMAKE_MATCH_1})
      set(is_allowed FALSE)
      foreach(allowed IN LISTS ${folder}_may_include)
        string(FIND ${included} ${allowed} at)
        if(at EQUAL 0)
          set(is_allowed TRUE)
        endif()
      endforeach()
      if(NOT is_allowed)
        message("${file}: ${folder}/ must not know ${included}  (${line})")
        math(EXPR faults "${faults}+1")
      endif()
    endforeach()
  endforeach()
endforeach()

if(faults)
  message(FATAL_ERROR "${faults} layering fault(s)")
endif()
