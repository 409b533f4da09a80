# kernel-check for another processor: kernels and what they need of base.  Of the libraries only headers are
# used, and those hold nothing of a processor: BL_HEADERS is a folder with jansson's and xxhash's.
set(BL_HEADERS "" CACHE PATH "jansson.h, jansson_config.h, xxhash.h")
find_package(Threads REQUIRED)
file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/base/*.c ${CMAKE_SOURCE_DIR}/src/kernels/*.c)
file(GLOB check CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/check/*.c)
list(FILTER sources EXCLUDE REGEX "/base/(json|container)\\.c$")
bl_kernel_flags(sources)
add_executable(kernel-check ${sources} ${check})
target_include_directories(kernel-check PRIVATE ${CMAKE_SOURCE_DIR}/include ${CMAKE_SOURCE_DIR}/src
  ${CMAKE_SOURCE_DIR}/tests/check)
target_include_directories(kernel-check SYSTEM PRIVATE ${BL_HEADERS})
target_compile_options(kernel-check PRIVATE -ffunction-sections -fdata-sections)
# Static: an emulator then needs no folder of libraries.  What nothing reaches, and with it what would want a
# library, is left out.
target_link_options(kernel-check PRIVATE -Wl,--gc-sections)
if(NOT BL_SANITIZE) # sanitizers have no static form
  target_link_options(kernel-check PRIVATE -static)
endif()
target_link_libraries(kernel-check PRIVATE bl_house Threads::Threads m)
