# What `cmake --install` puts where.  Everything is found relative to where it lies, so that a prefix
# can be moved (and DESTDIR works).
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

file(GLOB manual CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/man/*.1)
if(TARGET bitlathe)
  install(TARGETS bitlathe)
endif()
set(bl_libraries bl_static)
if(BL_SHARED)
  list(APPEND bl_libraries bl_shared)
endif()
install(TARGETS ${bl_libraries} EXPORT bitlatheTargets
  INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES include/bitlathe.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES ${manual} DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES completions/bitlathe DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
install(FILES ${bl_recipe_files} DESTINATION ${CMAKE_INSTALL_DATADIR}/bitlathe/recipes)
install(FILES README.md LICENSE CHANGELOG.md TYPE DOC)
install(FILES examples/quantize.c DESTINATION ${CMAKE_INSTALL_DOCDIR}/examples)

# What the static library needs besides the C library: for pkg-config names of packages where they have
# one, for CMake names of libraries.
set(BL_PC_REQUIRES "jansson libprotobuf-c zlib")
set(BL_PC_LIBS "-pthread -lm")
set(BL_CMAKE_LIBS "jansson protobuf-c z m")
if(TARGET bl_jpeg AND TARGET bl_png)
  string(APPEND BL_PC_REQUIRES " libjpeg libpng")
  string(APPEND BL_CMAKE_LIBS " jpeg png")
endif()
if(TARGET bl_onednn AND BL_GOMP)
  string(PREPEND BL_PC_LIBS "-ldnnl -l:libgomp.so.1 ")
  string(APPEND BL_CMAKE_LIBS " dnnl libgomp.so.1")
endif()

file(RELATIVE_PATH BL_PC_PREFIX /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
string(REGEX REPLACE "/$" "" BL_PC_PREFIX "${BL_PC_PREFIX}")
configure_file(cmake/bitlathe.pc.in ${CMAKE_BINARY_DIR}/bitlathe.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/bitlathe.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

set(bl_package ${CMAKE_INSTALL_LIBDIR}/cmake/bitlathe)
configure_package_config_file(cmake/bitlatheConfig.cmake.in ${CMAKE_BINARY_DIR}/bitlatheConfig.cmake
  INSTALL_DESTINATION ${bl_package})
write_basic_package_version_file(${CMAKE_BINARY_DIR}/bitlatheConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/bitlatheConfig.cmake
  ${CMAKE_BINARY_DIR}/bitlatheConfigVersion.cmake DESTINATION ${bl_package})
install(EXPORT bitlatheTargets NAMESPACE bitlathe:: DESTINATION ${bl_package})
