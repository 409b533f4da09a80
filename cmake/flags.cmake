# The house's own compiler flags.  They stay apart from the user's CFLAGS, which come last on every
# command line and so have the last word.

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()
set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS ON)
set(CMAKE_C_FLAGS_RELEASE "-O2 -g")

separate_arguments(BL_USER_CFLAGS NATIVE_COMMAND "${CMAKE_C_FLAGS}")
set(CMAKE_C_FLAGS "") # handed on through BL_USER_CFLAGS

set(BL_SANITIZE "" CACHE STRING "address,undefined or thread")
add_library(bl_house INTERFACE)
target_compile_options(bl_house INTERFACE -Wall -Wextra -Wshadow -Wstrict-prototypes
  -Wmissing-prototypes -Wpointer-arith -Wvla -Werror=implicit-function-declaration
  -ffp-contract=off -fno-math-errno)
if(BL_SANITIZE)
  target_compile_options(bl_house INTERFACE -fsanitize=${BL_SANITIZE} -fno-sanitize-recover=all
    -fno-omit-frame-pointer)
  target_link_options(bl_house INTERFACE -fsanitize=${BL_SANITIZE})
endif()
target_compile_options(bl_house INTERFACE ${BL_USER_CFLAGS})

# Suffix of a file name -> processor, flags.  On another processor such files are left out.
set(BL_ISA_TABLE
  "avx2|x86|-mavx2 -mfma -mbmi2"
  "avxvnni|x86|-mavx2 -mfma -mbmi2 -mavxvnni"
  "avx512|x86|-mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mfma -mavx2 -mbmi2"
  "avx512vbmi|x86|-mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mavx512vbmi -mfma -mavx2 -mbmi2"
  "amx|x86|-mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mfma -mavx2 -mbmi2 -mamx-tile -mamx-int8"
  "neon|arm|"
  "dotprod|arm|-march=armv8.2-a+dotprod"
  "i8mm|arm|-march=armv8.2-a+dotprod+i8mm")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  set(BL_PROCESSOR x86)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
  set(BL_PROCESSOR arm)
else()
  set(BL_PROCESSOR other)
endif()

# bl_kernel_flags(LIST): -O3 for the rooms of loops, flags by suffix, files of other processors taken out.
function(bl_kernel_flags list)
  set(sources ${${list}})
  foreach(row IN LISTS BL_ISA_TABLE)
    string(REPLACE "|" ";" row "${row}")
    list(GET row 0 suffix)
    list(GET row 1 processor)
    list(GET row 2 flags)
    set(matching ${sources})
    list(FILTER matching INCLUDE REGEX "_${suffix}\\.c$")
    if(NOT processor STREQUAL BL_PROCESSOR)
      list(FILTER sources EXCLUDE REGEX "_${suffix}\\.c$")
    elseif(matching)
      separate_arguments(flags NATIVE_COMMAND "${flags}")
      set_property(SOURCE ${matching} APPEND PROPERTY COMPILE_OPTIONS ${flags})
    endif()
  endforeach()
  set(loops ${sources})
  list(FILTER loops INCLUDE REGEX "/src/((kernels|ops|graph|quant|train)/|search/agent)")
  if(loops)
    set_property(SOURCE ${loops} APPEND PROPERTY COMPILE_OPTIONS -O3 ${BL_USER_CFLAGS})
  endif()
  # Comparisons that choose a rounding become vectors; no value changes, nobody reads the exception flags.
  set(trains ${sources})
  list(FILTER trains INCLUDE REGEX "/src/train/(hgq_loops|rounding|study_wide)")
  if(trains)
    set_property(SOURCE ${trains} APPEND PROPERTY COMPILE_OPTIONS -fno-trapping-math ${BL_USER_CFLAGS})
  endif()
  set(${list} ${sources} PARENT_SCOPE)
endfunction()
