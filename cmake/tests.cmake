# Every tests/unit/*.c is a program and a test; tests/check/*.c are one program, kernel-check; every
# executable tests/*.sh and tests/golden/*.sh is a test that gets the build folder as its argument.
# Exit status 77 of a script means skipped.  Nothing here is part of plain `make`.

enable_testing()
set(BL_TEST_ENV "")
if(BL_SANITIZE)
  list(APPEND BL_TEST_ENV "UBSAN_OPTIONS=print_stacktrace=1" "TSAN_OPTIONS=halt_on_error=1")
endif()

add_custom_target(tests)
if(TARGET bl_shared)
  add_dependencies(tests bl_shared)
endif()
if(TARGET bitlathe)
  add_dependencies(tests bitlathe)
endif()

function(bl_add_test name)
  add_test(NAME ${name} COMMAND ${ARGN} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  set_tests_properties(${name} PROPERTIES TIMEOUT 600 SKIP_RETURN_CODE 77
    ENVIRONMENT "${BL_TEST_ENV}")
endfunction()

bl_find(bl_cmocka cmocka.h cmocka)
if(NOT TARGET bl_cmocka)
  message(STATUS "cmocka not found (Debian: libcmocka-dev): no unit tests")
else()
  file(GLOB unit CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/unit/*.c)
  foreach(source IN LISTS unit)
    get_filename_component(name ${source} NAME_WE)
    add_executable(${name} EXCLUDE_FROM_ALL ${source})
    target_link_libraries(${name} PRIVATE bl_static bl_cmocka)
    target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR}/tests/unit)
    set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
    add_dependencies(tests ${name})
    bl_add_test(${name} ${name})
  endforeach()
endif()

file(GLOB check CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/check/*.c)
if(check)
  add_executable(kernel-check EXCLUDE_FROM_ALL ${check})
  target_link_libraries(kernel-check PRIVATE bl_static)
  target_include_directories(kernel-check PRIVATE ${CMAKE_SOURCE_DIR}/tests/check)
  add_dependencies(tests kernel-check)
  bl_add_test(kernel-check kernel-check)
endif()

file(GLOB scripts CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/*.sh
  ${CMAKE_SOURCE_DIR}/tests/golden/*.sh)
foreach(script IN LISTS scripts)
  execute_process(COMMAND test -x ${script} RESULT_VARIABLE not_executable)
  if(NOT not_executable) # others are helpers that scripts source
    get_filename_component(name ${script} NAME_WE)
    bl_add_test(${name} ${script} ${CMAKE_BINARY_DIR})
  endif()
endforeach()

# Fuzzers are libFuzzer's: LLVMFuzzerTestOneInput in tests/fuzz/*.c, built with clang.
option(BL_FUZZ "build the fuzzers (clang)" OFF)
if(BL_FUZZ)
  add_custom_target(fuzzers)
  file(GLOB fuzz CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/fuzz/*.c)
  foreach(source IN LISTS fuzz)
    get_filename_component(name ${source} NAME_WE)
    add_executable(${name} EXCLUDE_FROM_ALL ${source})
    target_link_libraries(${name} PRIVATE bl_static)
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
    set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/fuzz)
    add_dependencies(fuzzers ${name})
  endforeach()
endif()
