# Targets beside the build itself; included by the Makefile.
# the program knows its commit; the stamp changes only when the commit does
$(shell mkdir -p $(BUILD) && echo '$(COMMIT)' | cmp -s - $(BUILD)/commit || echo '$(COMMIT)' > $(BUILD)/commit)
$(BUILD)/obj/cli/cli.o: CFLAGS_ += -DVITAE_COMMIT='"$(COMMIT)"'
$(BUILD)/obj/cli/cli.o: $(BUILD)/commit

web: $(BUILD)/web/index.html.h ## build the workbench's page into a C array
WEB_SRC := $(wildcard web/src/*) web/package.json web/package-lock.json web/build.mjs
$(BUILD)/web/index.html.h: $(WEB_SRC) scripts/build-web
	@mkdir -p $(@D)
	scripts/build-web $(BUILD)
$(BUILD)/obj/serve/serve_page.o: $(BUILD)/web/index.html.h
$(BUILD)/obj/serve/serve_page.o: CFLAGS_ += -I$(BUILD)/web

# The shipped rules' databases (src/deid/text_ready.h), compiled by the wall's own code; of another change than that of these files they do not depend
READY := $(BUILD)/text-rules.ready
$(BUILD)/text-ready-make: src/deid/ready/text_ready_make.c $(filter-out %/text_ready_data.o,$(call objs,deid)) $(call lib,record) $(call lib,base)
	$(say) LD $@
	$(Q)$(CC) $(CFLAGS_) $(LDFLAGS_) $< -Wl,--start-group $(filter %.o %.a,$^) -Wl,--end-group $(PKG_L) -o $@
$(READY): policy/text-rules.json src/deid/text_rules.c src/deid/text_ready.c | $(BUILD)/text-ready-make
	$(say) HS $@
	$(Q)$(BUILD)/text-ready-make policy/text-rules.json $@
$(BUILD)/obj/deid/text_ready_data.o: $(READY)
$(BUILD)/obj/deid/text_ready_data.o: CFLAGS_ += -DTEXT_READY='"$(READY)"'

# Training over several processes: a plug-in, where MPI is there to build it
MPICC := $(shell command -v mpicc 2>/dev/null)
ifneq ($(MPICC),)
all: $(BUILD)/vitae-mpi.so
endif
$(BUILD)/vitae-mpi.so: src/model/mpi/mesh_mpi.c src/model/mesh_plugin.h
	@mkdir -p $(@D)
	$(say) MPI $<
	$(Q)$(MPICC) -std=c11 -O2 -g -fPIC -shared -D_GNU_SOURCE -Wall -Wextra -Werror -Isrc $< -o $@

# The GPU's kernels: a plug-in, where nvcc and cuBLASLt are there to build it (`make cuda` fetches both). Code for compute capability 8.0 and 9.0, and
# PTX for what comes later.
CUDA_HOME ?= $(firstword $(wildcard $(BUILD)/cuda/nvidia/cu13 /usr/local/cuda /usr/lib/cuda))
NVCC := $(firstword $(wildcard $(CUDA_HOME)/bin/nvcc) $(shell command -v nvcc 2>/dev/null))
CUDA_SRC := $(sort $(wildcard src/kernel/cuda/*.cu))
CUDA_HEADERS := src/kernel/cuda/cuda.h src/kernel/cuda/cuda_nccl.h src/kernel/kernel.h src/kernel/kernel_plugin.h src/base/error.h
ifneq ($(NVCC),)
all: $(BUILD)/vitae-cuda.so
endif
$(BUILD)/obj/kernel/cuda/%.o: src/kernel/cuda/%.cu $(CUDA_HEADERS)
	@mkdir -p $(@D)
	$(say) CUDA $<
	$(Q)$(NVCC) -std=c++17 -O3 -Isrc -Xcompiler -fPIC,-fvisibility=hidden,-Wall,-Wextra --default-stream per-thread -Werror all-warnings \
	  -gencode arch=compute_80,code=sm_80 -gencode arch=compute_90,code=[sm_90,compute_90] -c $< -o $@
# the run time is linked in; cuBLASLt is the machine's own, found where it was built or by the loader
$(BUILD)/vitae-cuda.so: $(CUDA_SRC:src/%.cu=$(BUILD)/obj/%.o)
	$(say) CUDA $@
	$(Q)$(NVCC) -shared $^ -o $@ $(patsubst %,-L%,$(wildcard $(CUDA_HOME)/lib $(CUDA_HOME)/lib64)) $(firstword $(addprefix -Xlinker=,$(wildcard $(CUDA_HOME)/lib*/libcublasLt.so*)) -lcublasLt) \
	  -Xlinker -rpath='$$ORIGIN/cuda/nvidia/cu13/lib:/usr/local/cuda/lib64'
cuda: ## fetch NVIDIA's compiler into build/cuda where none is installed, and build the GPU's kernels
	@scripts/fetch-cuda $(BUILD) $(NVCC)
	@$(MAKE) --no-print-directory BUILD=$(BUILD) $(BUILD)/vitae-cuda.so
# the same sources by the host's compiler, for the tests
$(BUILD)/tests/vitae-cuda-emulated.so: $(CUDA_SRC) $(CUDA_HEADERS) tests/kernel/cuda_emulated.h
	@mkdir -p $(@D)
	$(say) TEST $@
	$(Q)$(CXX) -std=c++17 -O2 -g -fPIC -shared -fvisibility=hidden -D_GNU_SOURCE -DCUDA_EMULATED -Wall -Wextra -Wno-clobbered -Isrc -Itests -x c++ $(CUDA_SRC) -o $@
$(foreach t,$(filter tests/kernel/% tests/model/model_gradient_test.c,$(TESTS)),$(call testbin,$(t))): $(BUILD)/tests/vitae-cuda-emulated.so

# what sends between its devices, over MPI
$(BUILD)/tests/nccl/libnccl.so.2: tests/kernel/nccl_emulated.c src/kernel/cuda/cuda_nccl.h
	@mkdir -p $(@D)
	$(say) TEST $@
	$(Q)$(MPICC) -std=c11 -O2 -g -fPIC -shared -D_GNU_SOURCE -DCUDA_EMULATED -Wall -Wextra -Werror -Isrc $< -o $@

packages-build:
	@scripts/install-packages build
packages-test:
	@scripts/install-packages build test
duckdb: ## fetch the optional DuckDB library (Parquet) by npm into build/duckdb
	@scripts/fetch-duckdb $(BUILD)

demo: packages-build ## install, build, run the main job on demo/, end serving the workbench (SERVE=no stops before)
	@$(MAKE) --no-print-directory -j$$(nproc) BUILD=$(BUILD) all
	@BUILD=$(BUILD) SERVE=$(SERVE) demo/run
test: packages-test ## install, build, pass all tests
	@-$(MAKE) --no-print-directory BUILD=$(BUILD) duckdb
	@$(MAKE) --no-print-directory -j$$(nproc) BUILD=$(BUILD) COVERAGE=$(COVERAGE) all tests
	@DATA=$(DATA) BUILD=$(BUILD) scripts/run-tests $(sort $(wildcard tests/river/*.sh tests/reason/*.sh tests/cli/*.sh tests/serve/*.sh)) $(foreach t,$(TESTS),$(call testbin,$(t)))
tests: $(foreach t,$(TESTS),$(call testbin,$(t))) $(if $(MPICC),$(BUILD)/tests/nccl/libnccl.so.2)
coverage: packages-test ## the tests with line coverage of src/, printed at the end
	@-$(MAKE) --no-print-directory BUILD=$(BUILD)-coverage duckdb
	@$(MAKE) --no-print-directory -j$$(nproc) BUILD=$(BUILD)-coverage COVERAGE=1 OPT=-O1 test
	@gcovr --root . --filter 'src/' --object-directory $(BUILD)-coverage --gcov-ignore-parse-errors -s 2>/dev/null | tail -60
san: packages-test ## the tests under AddressSanitizer and UndefinedBehaviorSanitizer
	@-$(MAKE) --no-print-directory BUILD=$(BUILD)-asan duckdb
	@$(MAKE) --no-print-directory -j$$(nproc) BUILD=$(BUILD)-asan SAN=address OPT=-O1 all tests
	@DATA=$(DATA) BUILD=$(BUILD)-asan ASAN_OPTIONS=detect_leaks=1:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1 scripts/run-tests $(foreach t,$(TESTS),$(patsubst tests/%.c,$(BUILD)-asan/tests/%,$(t)))
tsan: packages-test ## the threaded tests under ThreadSanitizer
	@$(MAKE) --no-print-directory -j$$(nproc) BUILD=$(BUILD)-tsan SAN=thread OPT=-O1 $(patsubst tests/%.c,$(BUILD)-tsan/tests/%,$(TSAN_TESTS))
	@DATA=$(DATA) BUILD=$(BUILD)-tsan TSAN_OPTIONS=halt_on_error=1 scripts/run-tests $(patsubst tests/%.c,$(BUILD)-tsan/tests/%,$(TSAN_TESTS))
TSAN_TESTS := $(wildcard tests/base/thread_test.c tests/model/model_train_test.c tests/predict/*_test.c tests/serve/*_test.c)
clang: packages-test ## build everything with clang 14 as well
	@$(MAKE) --no-print-directory -j$$(nproc) CC=clang-14 CXX=clang++-14 BUILD=$(BUILD)-clang all

lint: packages-test ## formatting, cppcheck, include order, sizes (warnings are errors in every build)
	@scripts/lint
FUZZERS := $(sort $(wildcard tests/fuzz/fuzz_*.c))
FUZZ_SECONDS ?= 30
fuzz: packages-test ## every fuzz target for FUZZ_SECONDS (30)
	@$(MAKE) --no-print-directory -j$$(nproc) CC=clang-14 CXX=clang++-14 BUILD=$(BUILD)-fuzz SAN=address OPT=-O1 CFLAGS='-fsanitize=fuzzer-no-link' $(foreach f,$(FUZZERS),$(BUILD)-fuzz/$(notdir $(basename $(f))))
	@scripts/run-fuzz $(BUILD)-fuzz $(FUZZ_SECONDS) $(notdir $(basename $(FUZZERS)))
FUZZ_LIBS := $(foreach m,$(filter-out cli,$(MODULES)),$(call lib,$(m)))
$(BUILD)/fuzz_%: tests/fuzz/fuzz_%.c $(FUZZ_LIBS) $(wildcard tests/fuzz/*.h)
	$(say) FUZZ $<
	$(Q)$(CC) $(CFLAGS_) -Itests -Wno-missing-prototypes -Wno-unused-but-set-variable -fsanitize=fuzzer $(LDFLAGS_) $< -Wl,--start-group $(FUZZ_LIBS) -Wl,--end-group -lcmocka $(PKG_L) -o $@

# The shipped tagger, learned again from its recipe: the same bytes as policy/text-en.tagger
tagger: $(BUILD)/vitae ## learn policy/text-en.tagger again from its recipe
	@mkdir -p $(BUILD)/tagger/deid-presidio-research
	@for a in $(DATA)/deid-presidio-research/*.tar.xz; do tar xJf $$a -C $(BUILD)/tagger/deid-presidio-research; done
	$(BUILD)/vitae tagger train policy/text-en.recipe.json --format recipe --data $(BUILD)/tagger --out policy/text-en.tagger
.PHONY: tagger

BENCHES := $(filter-out scaling,$(patsubst bench/run-%,%,$(wildcard bench/run-*)))
bench: $(addprefix bench-,$(BENCHES)) ## every benchmark, each beside its peer
$(addprefix bench-,$(BENCHES)): bench-%: all
	@DATA=$(DATA) BUILD=$(BUILD) bench/run-$*
scaling: all ## five sizes on four shares of the data, fitted and drawn into docs/scaling.md (long)
	@DATA=$(DATA) BUILD=$(BUILD) bench/run-scaling
BENCH_PROGRAMS := $(sort $(wildcard bench/*_bench.c))
bench-programs: $(patsubst bench/%.c,$(BUILD)/bench/%,$(BENCH_PROGRAMS))
$(BUILD)/bench/%: bench/%.c $(FUZZ_LIBS)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_) -Wno-missing-prototypes $(LDFLAGS_) $< -Wl,--start-group $(FUZZ_LIBS) -Wl,--end-group $(PKG_L) -o $@

install: all ## install under PREFIX (/usr/local)
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/include $(DESTDIR)$(PREFIX)/share/vitae
	install -m 755 $(BUILD)/vitae $(DESTDIR)$(PREFIX)/bin/vitae
	install -m 644 include/vitae.h $(DESTDIR)$(PREFIX)/include/vitae.h
	@if [ -f $(BUILD)/vitae-mpi.so ]; then install -d $(DESTDIR)$(PREFIX)/lib/vitae && install -m 755 $(BUILD)/vitae-mpi.so $(DESTDIR)$(PREFIX)/lib/vitae/; fi
	@if [ -f $(BUILD)/vitae-cuda.so ]; then install -d $(DESTDIR)$(PREFIX)/lib/vitae && install -m 755 $(BUILD)/vitae-cuda.so $(DESTDIR)$(PREFIX)/lib/vitae/; fi
	cp -r mapping tasks policy calculators knowledge scenarios $(DESTDIR)$(PREFIX)/share/vitae/
	@if [ -f $(BUILD)/duckdb/libduckdb.so ]; then install -d $(DESTDIR)$(PREFIX)/lib/vitae && install -m 644 $(BUILD)/duckdb/libduckdb.so $(DESTDIR)$(PREFIX)/lib/vitae/; fi
help: ## this page
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "make %-12s %s\n", $$1, $$2}' Makefile scripts/targets.mk
.PHONY: cuda web scaling packages-build packages-test duckdb demo test tests coverage san tsan clang lint fuzz bench bench-programs install help $(addprefix bench-,$(BENCHES)) $(addprefix test-,$(MODULES))
# clang 14 takes minutes over the vector columns under a sanitizer; gcc's sanitizers (make san) check them, and no fuzz target reaches them
ifneq ($(and $(SAN),$(findstring clang,$(CC))),)
$(BUILD)/obj/kernel/%.o: CFLAGS_ += -fno-sanitize=all
endif
