# SPDX-License-Identifier: BSD-3-Clause
# Open hardware tools over a folder of `export --format verilog`; sourced by tools/test-hardware and
# tools/figures, not run.  Each leaves what it printed in FOLDER/NAME.log.

have() { command -v "$1" >/dev/null 2>&1; }

# Samples that differ from the executor's integers, as the test bench counts them; nothing: it did not run.
simulated_wrong() { # FOLDER iverilog|verilator
    (
        cd "$1" || exit 1
        if [ "$2" = iverilog ]; then iverilog -g2001 -o sim tb.v net.v && vvp -n sim
        else verilator --binary --timing -Wno-fatal --top-module tb tb.v net.v && obj_dir/Vtb; fi
    ) >"$1/$2.log" 2>&1
    awk '/ samples, .* wrong/ { print $3 }' "$1/$2.log"
}

# "LUT CARRY FLIPFLOPS" of the top module with everything in it, which yosys prints last.
synthesised() { # FOLDER xilinx|ice40
    (cd "$1" && yosys -q -s "$2.ys" -l "$2.log" >/dev/null 2>&1) || return 1
    awk '/=== design hierarchy ===|^=== / { lut = carry = ff = 0 }
         $1 ~ /^LUT[1-6]$|^SB_LUT4$|^SRL/ { lut += $2 }
         $1 == "CARRY4" || $1 == "CARRY8" || $1 == "SB_CARRY" { carry += $2 }
         $1 ~ /^FD[RSCP]E$|^SB_DFF/ { ff += $2 }
         END { print lut + 0, carry + 0, ff + 0 }' "$1/$2.log"
}

# Clock of a small design in an hx8k, in MHz: 256 pins are too few for the buses, so they are shifted in and out.
placed_mhz() { # FOLDER
    local ni no
    ni=$(awk -F'[^0-9]+' '/^module bl_net / { print $2 + 1 }' "$1/net.v") # [63:0] x ... [441:0] y
    no=$(awk -F'[^0-9]+' '/^module bl_net / { print $4 + 1 }' "$1/net.v")
    cat >"$1/wrap.v" <<EOF
module wrap (input wire clk, input wire d, output wire q);
    reg [$((ni - 1)):0] x;
    reg [$((no - 1)):0] s;
    wire [$((no - 1)):0] y;
    bl_net net (.clk(clk), .x(x), .y(y));
    always @(posedge clk) begin x <= {x, d}; s <= {s, 1'b0} ^ y; end
    assign q = s[$((no - 1))];
endmodule
EOF
    (
        cd "$1" || exit 1
        yosys -q -p 'read_verilog net.v wrap.v; synth_ice40 -top wrap; setattr -mod -unset keep_hierarchy *; flatten; opt_clean; write_json wrap.json' &&
            nextpnr-ice40 --hx8k --package ct256 --json wrap.json --freq 100 --seed 1 --pcf-allow-unconstrained
    ) >"$1/nextpnr.log" 2>&1
    awk '/Max frequency for clock/ { for (i = 1; i < NF; i++) if ($(i + 1) == "MHz") f = $i } END { if (f) print f }' "$1/nextpnr.log"
}
