#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# What surrounds the program: the installed tree used from outside as a stranger would use it, the
# library's exports, and the header on its own.
. tests/golden/harness.sh
begin "$@"
build=$1
export CCACHE_DISABLE=1
sanitized=$(sed -n 's/^BL_SANITIZE:[A-Z]*=//p' "$build/CMakeCache.txt")
[ -n "$sanitized" ] || ! grep -q "^CMAKE_C_FLAGS:.*--coverage" "$build/CMakeCache.txt" || sanitized=coverage
cc=$(sed -n 's/^CMAKE_C_COMPILER:[A-Z]*=//p' "$build/CMakeCache.txt")

# ---- the header alone
printf '#include <bitlathe.h>\nint main(void) { return BL_OK; }\n' >"$t/alone.c"
cp "$t/alone.c" "$t/alone.cc"
strict="-Wall -Wextra -Werror -pedantic-errors -Iinclude -fsyntax-only"
check "the header as C11" "$cc" -std=c11 $strict "$t/alone.c"
if command -v g++ >/dev/null; then
    check "the header as C++17" g++ -std=c++17 $strict "$t/alone.cc"
else
    skip install_header_cxx "no C++ compiler"
fi
version=$(sed -n 's/^#define BL_VERSION_STRING "\(.*\)"/\1/p' include/bitlathe.h)
check "one version everywhere" grep -q "^project(bitlathe VERSION $version " CMakeLists.txt
check "its three numbers" test "$version" = \
    "$(sed -n 's/^#define BL_VERSION_M[A-Z]* //p;s/^#define BL_VERSION_PATCH //p' include/bitlathe.h | paste -sd.)"

# ---- exports
sed -n 's/^BL_API .*[ *]\(bl_[a-z0-9_]*\)(.*/\1/p' include/bitlathe.h | sort >"$t/declared"
check "the header declares functions" test "$(wc -l <"$t/declared")" -gt 40
check "each BL_API line is one of them" test "$(wc -l <"$t/declared")" -eq "$(grep -c '^BL_API ' include/bitlathe.h)"
shared_library=$build/libbitlathe.so
if [ ! -e "$shared_library" ]; then
    skip install_exports "built without the shared library (-DBL_SHARED=OFF)"
elif [ -n "$sanitized" ]; then
    skip install_exports "built with $sanitized, which exports symbols of its own"
else
    nm -D --defined-only "$shared_library" | awk '{ print $3 }' | sort >"$t/exported"
    checks=$((checks + 1))
    diff "$t/declared" "$t/exported" >"$t/diff" || fail "exports are what the header declares" "$(head -n 5 "$t/diff")"
fi

# ---- the installed tree, moved after it was installed
DESTDIR=$t/stage cmake --install "$build" --prefix /opt/first >"$t/log" 2>&1 || fail install "$(tail -n 3 "$t/log")"
check "DESTDIR is kept" test -x "$t/stage/opt/first/bin/bitlathe"
mv "$t/stage/opt/first" "$t/moved"
lib=$(dirname "$(find "$t/moved" -name libbitlathe.a)")
for f in bin/bitlathe include/bitlathe.h share/man/man1/bitlathe.1 share/bitlathe/recipes/mixed.recipe \
    share/bash-completion/completions/bitlathe share/doc/bitlathe/examples/quantize.c; do
    check "$f is installed" cmp "$t/moved/$f" "$(case $f in
        bin/*) echo "$build/bitlathe" ;;
        include/*) echo "$f" ;;
        *man1/*) echo "man/${f##*/}" ;;
        *recipes/*) echo "recipes/${f##*/}" ;;
        *completions/*) echo completions/bitlathe ;;
        *) echo examples/quantize.c ;;
        esac)"
done
checks=$((checks + 1))
! grep -rlE "$PWD|$t|/opt/first" "$lib/pkgconfig" "$lib/cmake" >"$t/out" || fail "no path of the build is installed" "$(cat "$t/out")"
ok 0 "the installed program" env -i "$t/moved/bin/bitlathe" list recipes
prints "the installed program knows its recipes" '^mixed '

if [ -n "$sanitized" ]; then
    skip install_example "a program outside would need what this one is built with ($sanitized) as well"
    finish
fi

# ---- a program of forty lines, built outside
check "at most forty lines" test "$(wc -l <examples/quantize.c)" -le 40
npy_noise "$t/x.npy" "16, 1, 28, 28" 12544 7
mkdir "$t/user"
cp examples/quantize.c "$t/user"

uses() { # NAME PROGRAM: it quantizes resnet8 here, and what it writes is a program
    ok 0 "$1" "$2" $resnet8 "npy:$t/x.npy" size=0.6 "$t/$1.blp"
    prints "$1" '^4[0-9]* bytes of weights, first of 10 outputs -*[0-9]'
    check "$1 wrote a program" "$bitlathe" inspect "$t/$1.blp"
    check "$1: the same program each time" cmp "$t/$1.blp" "$t/$first.blp"
}
first=static_pc

export PKG_CONFIG_PATH=$lib/pkgconfig
if command -v pkg-config >/dev/null; then
    check "pkg-config's version" test "$(pkg-config --modversion bitlathe)" = "$version"
    # Static: the archive by name, because -lbitlathe prefers the shared one beside it.
    words=$(pkg-config --static --cflags --libs bitlathe) || fail pkg-config "--static fails"
    ok 0 "static by pkg-config" "$cc" -std=c11 -Wall -Wextra -Werror "$t/user/quantize.c" \
        ${words/-lbitlathe/-l:libbitlathe.a} -o "$t/user/static_pc"
    uses static_pc "$t/user/static_pc"
    if [ -e "$lib/libbitlathe.so" ]; then
        ok 0 "shared by pkg-config" "$cc" -std=c11 -Wall -Wextra -Werror "$t/user/quantize.c" \
            $(pkg-config --cflags --libs bitlathe) -o "$t/user/shared_pc"
        check "shared by pkg-config names one library" test "$(pkg-config --libs bitlathe | tr ' ' '\n' | grep -c '^-l')" -eq 1
        export LD_LIBRARY_PATH=$lib
        uses shared_pc "$t/user/shared_pc"
        unset LD_LIBRARY_PATH
    else
        skip install_shared_pc "no shared library"
    fi
else
    skip install_pkg_config "no pkg-config"
    first=cmake_static
fi

cat >"$t/user/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.25)
project(user LANGUAGES C)
find_package(bitlathe 0.1 REQUIRED)
add_executable(cmake_static quantize.c)
target_link_libraries(cmake_static PRIVATE bitlathe::static)
add_executable(cmake_default quantize.c)
target_link_libraries(cmake_default PRIVATE bitlathe::bitlathe)
if(TARGET bitlathe::shared)
  add_executable(cmake_shared quantize.c)
  target_link_libraries(cmake_shared PRIVATE bitlathe::shared)
endif()
END
ok 0 "find_package" cmake -S "$t/user" -B "$t/user/build" -DCMAKE_C_COMPILER="$cc" -DCMAKE_PREFIX_PATH="$t/moved"
ok 0 "build with find_package" cmake --build "$t/user/build"
for p in cmake_static cmake_default cmake_shared; do
    [ -x "$t/user/build/$p" ] && uses $p "$t/user/build/$p"
done
if [ -e "$lib/libbitlathe.so" ]; then check "cmake_shared was built" test -x "$t/user/build/cmake_shared"; fi
sed -i 's/bitlathe 0.1 REQUIRED/bitlathe 9.0 REQUIRED/' "$t/user/CMakeLists.txt"
checks=$((checks + 1))
! cmake -S "$t/user" -B "$t/user/build9" -DCMAKE_PREFIX_PATH="$t/moved" >"$t/out" 2>&1 || fail "find_package" "version 9.0 was found"
finish
