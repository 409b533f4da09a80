# Finds what bitlathe stands on.  Plain header-and-library searches: no pkg-config needed, and an
# absent one is named with its Debian package.

# bl_find(TARGET HEADER LIBRARY): makes the imported target, or leaves it undefined.
function(bl_find target header library)
  find_path(${target}_INCLUDE ${header})
  find_library(${target}_LIBRARY ${library})
  mark_as_advanced(${target}_INCLUDE ${target}_LIBRARY)
  if(${target}_INCLUDE AND ${target}_LIBRARY)
    add_library(${target} UNKNOWN IMPORTED)
    set_target_properties(${target} PROPERTIES IMPORTED_LOCATION "${${target}_LIBRARY}"
      INTERFACE_INCLUDE_DIRECTORIES "${${target}_INCLUDE}")
  endif()
endfunction()

function(bl_require target header library package)
  bl_find(${target} ${header} ${library})
  if(NOT TARGET ${target})
    message(FATAL_ERROR "${header} or lib${library} not found; on Debian: apt install ${package}")
  endif()
endfunction()

bl_require(bl_jansson jansson.h jansson libjansson-dev)
bl_require(bl_protobuf_c protobuf-c/protobuf-c.h protobuf-c libprotobuf-c-dev)
bl_require(bl_zlib zlib.h z zlib1g-dev)
bl_require(bl_math math.h m libc6-dev)

# Header only: XXH_INLINE_ALL.
find_path(BL_XXHASH_INCLUDE xxhash.h)
find_program(BL_PROTOC_C protoc-c)
mark_as_advanced(BL_XXHASH_INCLUDE BL_PROTOC_C)
if(NOT BL_XXHASH_INCLUDE)
  message(FATAL_ERROR "xxhash.h not found; on Debian: apt install libxxhash-dev")
endif()
if(NOT BL_PROTOC_C)
  message(FATAL_ERROR "protoc-c not found; on Debian: apt install protobuf-c-compiler")
endif()
find_package(Threads REQUIRED)

# Pictures for images:DIR, both or none.
bl_find(bl_jpeg jpeglib.h jpeg)
bl_find(bl_png png.h png)

# Ranks of sense, eval and search: the program alone, src/cli/ranks.c.
option(BL_MPI "share work out by MPI where it is found" ON)
if(BL_MPI)
  find_path(bl_mpi_INCLUDE mpi.h HINTS /usr/lib/${CMAKE_LIBRARY_ARCHITECTURE}/openmpi/include PATH_SUFFIXES mpi)
  find_library(bl_mpi_LIBRARY mpi HINTS /usr/lib/${CMAKE_LIBRARY_ARCHITECTURE}/openmpi/lib)
  bl_find(bl_mpi mpi.h mpi)
endif()

option(BL_ONEDNN "use oneDNN for the float walk where it is found" ON)
if(BL_ONEDNN)
  bl_find(bl_onednn dnnl.h dnnl)
  # Debian's oneDNN stands on OpenMP; each walker tells it to use one thread.
  find_library(BL_GOMP NAMES gomp libgomp.so.1)
  mark_as_advanced(BL_GOMP)
endif()
