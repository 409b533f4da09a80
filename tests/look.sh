#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A page as a browser lays it out: nobody scrolls sideways, on a desk or on a phone.
. tests/golden/harness.sh
begin "$@"
browser=$(command -v chromium chromium-browser google-chrome | head -n 1)
[ -n "$browser" ] || { skip look "no Chromium"; exit 77; }
noise_images "$t/train" 16 11
noise_images "$t/test" 16 12
noise_bytes 16 13 10 >"$t/labels.u8"
printf 'calibrate = 16\nsensitivity = sqnr\nsense = 8\ntarget = counted\nsearch = knapsack\nweight_bits = 4 8\nact_bits = 8\nkeep_ends = yes\n' >"$t/quick.recipe"
ok 0 quantize "$bitlathe" quantize $mobilenet --recipe "$t/quick.recipe" --data "raw:$t/train,u8,16x1x28x28" \
    --mean 72.93 --std 90.015 --budget size=0.7 --no-bench --eval "raw:$t/test,u8,16x1x28x28,$t/labels.u8" -o "$t/run"
tools/look "$t/run/report.html" "$t/shots" >"$t/out" 2>"$t/err"
code=$?
if [ $code -eq 69 ]; then
    skip look "$(cat "$t/err")"
    exit 77
fi
check "no page is wider than its window" test $code -eq 0
[ $code -eq 0 ] || fail look "$(cat "$t/out" "$t/err")"
for shape in desktop:1280 phone:390; do
    prints "size of ${shape%:*}" "^${shape%:*}: ${shape#*:} wide, page ${shape#*:} x [0-9]*$"
    for scheme in light dark; do check "${shape%:*}-$scheme.png" test -s "$t/shots/${shape%:*}-$scheme.png"; done
done
check "the schemes differ" bash -c "! cmp -s '$t/shots/phone-light.png' '$t/shots/phone-dark.png'"

# It would notice: a page with a block of 900 pixels.
sed 's|</body>|<div style="width:900px">wide</div></body>|' "$t/run/report.html" >"$t/wide.html"
tools/look "$t/wide.html" "$t/shots" >"$t/out" 2>"$t/err"
check "a page that is too wide is found" test $? -eq 1
prints "on the phone" '^phone: 390 wide, page 9'
finish
