# cairn_precompiled(cairn_repo std_headers) lets the files of a target begin
# with headers that were read once for all targets. Under clang, which the
# sanitizer presets use, that saves two fifths of compiling; g++ gains a quarter,
# does so only where CAIRN_PRECOMPILE is on, and else sees that each file
# includes what it needs.
#
# g++ 12 forgets then which headers are the system's, and warns of what it
# imagines in std::string (its bug 105651).
#
# <filesystem> and <iomanip> are left out: std::quoted would be found in place of
# our own functions of that name.
file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/nothing.cc CONTENT "")

if(CAIRN_PRECOMPILE AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  target_compile_options(cairn_options INTERFACE
    -Wno-array-bounds -Wno-restrict -Wno-stringop-overflow
    -Wno-stringop-overread)
endif()

function(cairn_header_set name)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang" OR CAIRN_PRECOMPILE)
    add_library(${name} OBJECT ${PROJECT_BINARY_DIR}/nothing.cc)
    target_link_libraries(${name} PRIVATE cairn_options)
    target_precompile_headers(${name} PRIVATE ${ARGN})
  endif()
endfunction()

function(cairn_precompiled target name)
  if(TARGET ${name})
    target_precompile_headers(${target} REUSE_FROM ${name})
  endif()
endfunction()

set(std_headers
  <algorithm> <array> <chrono> <cstddef> <cstdint> <cstring> <functional> <map>
  <memory> <mutex> <optional> <ranges> <set> <span> <stop_token> <string>
  <string_view> <thread> <unordered_map> <utility> <variant> <vector>)

cairn_header_set(std_headers ${std_headers})
if(CAIRN_BUILD_TESTS)
  cairn_header_set(test_headers ${std_headers}
    <gmock/gmock.h> <gtest/gtest.h>)
endif()
if(TARGET test_headers)
  if(CAIRN_SANITIZE)
    target_compile_options(test_headers PRIVATE -O0)
  endif()
  find_package(GTest REQUIRED)
  target_link_libraries(test_headers PRIVATE GTest::gtest)
endif()
