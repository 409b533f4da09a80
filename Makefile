# A thin front: CMake and Ninja build, ctest tests.  make help lists the targets.
BUILD ?= build
JOBS  ?= $(shell nproc)
CMAKE ?= cmake
FLAGS ?=

.PHONY: all
all: ## build build/bitlathe (the default)
	@$(CMAKE) -S . -B $(BUILD) -G Ninja $(FLAGS) >$(BUILD).log 2>&1 || { cat $(BUILD).log; exit 1; }
	@rm -f $(BUILD).log
	@$(CMAKE) --build $(BUILD) -j $(JOBS)

.PHONY: test
test: ## install what is missing, build, run every test
	@tools/install-packages build test
	@tools/doors
	@$(MAKE) --no-print-directory all
	@$(CMAKE) --build $(BUILD) -j $(JOBS) --target tests
	@tools/run-tests $(BUILD) $(JOBS)

.PHONY: demo
demo: ## quantize a small network from start to end
	@tools/install-packages build demo
	@$(MAKE) --no-print-directory all
	@tools/demo $(BUILD)

.PHONY: asan
asan: ## the tests under the address and undefined-behaviour sanitizers
	@$(MAKE) --no-print-directory test BUILD=$(BUILD)-asan FLAGS=-DBL_SANITIZE=address,undefined

.PHONY: tsan
tsan: ## the tests under the thread sanitizer
	@$(MAKE) --no-print-directory test BUILD=$(BUILD)-tsan FLAGS='-DBL_SANITIZE=thread -DBL_ONEDNN=OFF'

.PHONY: coverage
coverage: ## lines of src that the tests reach, by room
	@tools/install-packages build test coverage
	@$(MAKE) --no-print-directory test BUILD=$(BUILD)-cov FLAGS='-DCMAKE_C_FLAGS="--coverage -fprofile-update=atomic" \
	    -DCMAKE_EXE_LINKER_FLAGS=--coverage -DCMAKE_SHARED_LINKER_FLAGS=--coverage'
	@tools/coverage $(BUILD)-cov

.PHONY: test-clients
test-clients: ## compare with ONNX Runtime (needs the network, once)
	@$(MAKE) --no-print-directory all
	@tools/test-clients $(BUILD)

.PHONY: test-hardware
test-hardware: ## simulate and synthesise exported Verilog (Verilator, iverilog, yosys, nextpnr)
	@tools/install-packages build hardware
	@$(MAKE) --no-print-directory all
	@tools/test-hardware $(BUILD)

.PHONY: test-amx
test-amx: ## run the AMX rows on a CPU that Bochs emulates (BOCHS_SOURCE, see tools/test-amx)
	@$(MAKE) --no-print-directory all
	@tools/test-amx $(BUILD)

SECONDS_EACH ?= 60
.PHONY: fuzz
fuzz: ## fuzz every reader for SECONDS_EACH=60 seconds
	@tools/install-packages build test fuzz
	@CC=clang $(CMAKE) -S . -B $(BUILD)-fuzz -G Ninja -DBL_FUZZ=ON -DBL_ONEDNN=OFF \
	    -DCMAKE_C_FLAGS=-fsanitize=fuzzer-no-link -DBL_SANITIZE=address,undefined >/dev/null
	@$(CMAKE) --build $(BUILD)-fuzz -j $(JOBS) --target fuzzers
	@for f in $(BUILD)-fuzz/fuzz/*; do n=$${f##*/fuzz_}; echo "$$f"; mkdir -p $(BUILD)-fuzz/corpus/$$n; \
	    $$f -max_total_time=$(SECONDS_EACH) -max_len=12000 -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
	    -artifact_prefix=$(BUILD)-fuzz/$$n- $(BUILD)-fuzz/corpus/$$n tests/fuzz/corpus/$$n || exit 1; done

.PHONY: bench
bench: ## measure kernels, networks, mixed plans, prediction, memory (SECTIONS="kernels memory", BENCH_SHORT=1)
	@$(MAKE) --no-print-directory all
	@tools/bench $(BUILD) $(SECTIONS)

.PHONY: bench-peers
bench-peers: ## install what `make bench` compares with: ONNX Runtime through npm, oneDNN with the packages
	@tools/install-packages build test
	@if why=$$(tools/install-clients $(BUILD)); then echo "ONNX Runtime is in $(BUILD)/clients"; else echo "skipped: ONNX Runtime: $$why"; fi

.PHONY: cross
cross: ## kernel-check for AArch64, under an emulator
	@tools/cross $(BUILD)

.PHONY: words
words: all ## make the manual page and the completion again after a verb, an option or a row changed
	@tools/make-man $(BUILD) >man/.bitlathe.1.tmp && mv man/.bitlathe.1.tmp man/bitlathe.1
	@tools/make-completion $(BUILD) >completions/.bitlathe.tmp && mv completions/.bitlathe.tmp completions/bitlathe

.PHONY: format
format: ## clang-format over the .c files of src and tests
	@clang-format -i $$(find src tests -name '*.c')

.PHONY: lines
lines: ## lines of code by room
	@for d in include src/*/ tests/*/; do \
	    printf '%8d  %s\n' "$$(find $$d -name '*.[ch]' -o -name '*.def' -o -name '*.sh' | xargs -r cat | wc -l)" $$d; done

PREFIX ?= /usr/local
.PHONY: install
install: all ## install under PREFIX=/usr/local (DESTDIR is kept)
	@$(CMAKE) --install $(BUILD) --prefix $(PREFIX)

.PHONY: clean
clean: ## remove the build folders
	rm -rf $(BUILD) $(BUILD)-asan $(BUILD)-tsan $(BUILD)-cov $(BUILD)-fuzz

.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 22
