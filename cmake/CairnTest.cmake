# cairn_test(repo pack_writer) builds tests/repo/pack_writer_test.cc against
# cairn_repo and runs it under ctest as repo.pack_writer. Labels: "unit", which
# the runs under sanitizers pick, and the folder.
#
# cairn_threads(ingest backup ...) says that these tests of the folder are about
# several threads or processes: the thread sanitizer runs them, and builds them
# alone (target thread_tests; unit_tests are all of them and the fuzz targets).
#
# The target program_tests is for a release build beside one with sanitizers
# (scripts/test.sh): the program, what is needed to drive it, and the units of
# folders whose code is picked by the processor.
find_package(GTest REQUIRED)

add_custom_target(unit_tests)
add_custom_target(thread_tests)
add_custom_target(program_tests DEPENDS cairn)

# Most tests make and remove caches by the dozen, which costs ext4 more than all
# else that they do: they get a folder in memory where there is room.
# cairn_on_disk(repo local_storage ...) says which are about files themselves.
execute_process(COMMAND df --output=avail -k /dev/shm
  OUTPUT_VARIABLE shared_memory ERROR_QUIET)
string(REGEX MATCH "[0-9]+" shared_memory "${shared_memory}")
set(in_memory "")
if(shared_memory GREATER 2097152)
  set(in_memory "TMPDIR=/dev/shm")
endif()

function(cairn_on_disk folder)
  foreach(name IN LISTS ARGN)
    set_tests_properties(${folder}.${name} PROPERTIES ENVIRONMENT "")
  endforeach()
endfunction()

# Two hundred programs are to be linked.
find_program(quick_linker ld.lld)

function(link_quickly target)
  if(quick_linker)
    target_link_options(${target} PRIVATE -fuse-ld=lld)
  endif()
endfunction()

# One for all fuzz targets.
add_library(cairn_replay OBJECT ${PROJECT_SOURCE_DIR}/tests/fuzz/replay_main.cc)
target_link_libraries(cairn_replay PRIVATE cairn_options)

# cairn_busy(repo tree ...) says which compute much themselves, beside what they
# test: they are optimised under sanitizers, too, and begin before the others.
function(cairn_busy folder)
  foreach(name IN LISTS ARGN)
    set_tests_properties(${folder}.${name} PROPERTIES COST 100)
    if(CAIRN_SANITIZE)
      target_compile_options(${folder}_${name}_test PRIVATE -O1)
      # Those were read without.
      set_target_properties(${folder}_${name}_test PROPERTIES
        DISABLE_PRECOMPILE_HEADERS ON)
    endif()
  endforeach()
endfunction()

function(cairn_threads folder)
  foreach(name IN LISTS ARGN)
    set_property(TEST ${folder}.${name} APPEND PROPERTY LABELS threads)
    add_dependencies(thread_tests ${folder}_${name}_test)
  endforeach()
endfunction()

function(cairn_test folder name)
  set(target ${folder}_${name}_test)
  add_executable(${target} ${PROJECT_SOURCE_DIR}/tests/${folder}/${name}_test.cc)
  target_link_libraries(${target} PRIVATE
    cairn_${folder} cairn_test_support GTest::gtest_main ${ARGN})
  cairn_precompiled(${target} test_headers)
  if(CAIRN_SANITIZE)
    # A third of compiling such a file is to optimise it.
    target_compile_options(${target} PRIVATE -O0)
  endif()
  target_compile_definitions(${target} PRIVATE
    CAIRN_GOLDEN_DIR="${PROJECT_SOURCE_DIR}/tests/golden")
  link_quickly(${target})
  add_test(NAME ${folder}.${name} COMMAND ${target})
  set_tests_properties(${folder}.${name} PROPERTIES
    LABELS "unit;${folder}" ENVIRONMENT "${in_memory}")
  add_dependencies(unit_tests ${target})
  if(folder MATCHES "^(crypto|chunker)$")
    add_dependencies(program_tests ${target})
  endif()
endfunction()

# cairn_fuzz(repo wire) builds tests/fuzz/wire_fuzz.cc in both its lives: under
# clang a libFuzzer program, everywhere an ordinary test that replays
# tests/fuzz/corpus/wire.
function(cairn_fuzz folder name)
  set(source ${PROJECT_SOURCE_DIR}/tests/fuzz/${name}_fuzz.cc)
  set(corpus ${PROJECT_SOURCE_DIR}/tests/fuzz/corpus/${name})
  add_executable(${name}_fuzz_replay ${source})
  target_link_libraries(${name}_fuzz_replay PRIVATE
    cairn_replay cairn_${folder} cairn_test_support ${ARGN})
  cairn_precompiled(${name}_fuzz_replay std_headers)
  link_quickly(${name}_fuzz_replay)
  add_test(NAME fuzz.${name} COMMAND ${name}_fuzz_replay ${corpus})
  set_tests_properties(fuzz.${name} PROPERTIES LABELS "unit;fuzz")
  add_dependencies(unit_tests ${name}_fuzz_replay)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    add_executable(${name}_fuzz ${source})
    target_link_libraries(${name}_fuzz PRIVATE
      cairn_${folder} cairn_test_support ${ARGN})
    cairn_precompiled(${name}_fuzz std_headers)
    target_link_options(${name}_fuzz PRIVATE -fsanitize=fuzzer)
  endif()
endfunction()
