# Vitae. GNU make + pkg-config, no configure step. `make help` lists the targets.
# BUILD=dir builds elsewhere; CC=clang-14 CXX=clang++-14 works too; SAN=address|thread adds a sanitizer; DATA=dir names the data sets.
BUILD   ?= build
DATA    ?= ../shared/data
PREFIX  ?= /usr/local
CC      := $(if $(filter default,$(origin CC)),gcc,$(CC))
CXX     := $(if $(filter default,$(origin CXX)),g++,$(CXX))
OPT     ?= -O2
VERSION := 0.1.0
COMMIT  := $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)

# Modules in the data's order, and what each may use (DESIGN section 2). The include check reads the same lists.
MODULES := base kernel record deid timeline token model predict reason validate govern serve cli
USES_base     :=
USES_kernel   := base
USES_record   := base
USES_deid     := record base
USES_timeline := deid record base
USES_token    := timeline deid record base
USES_model    := token kernel timeline deid record base
USES_predict  := model token kernel timeline deid record base
USES_reason   := predict model token kernel timeline deid record base
USES_validate := predict model token kernel timeline deid record base
USES_govern   := validate predict model token kernel timeline deid record base
USES_serve    := govern validate reason predict model token kernel timeline deid record base
USES_cli      := serve govern validate reason predict model token kernel timeline deid record base

PACKAGES := simdjson zlib libisal libzstd libcrypto libsodium sqlite3 libmicrohttpd libhs libpcre2-8 libutf8proc htslib libopenjp2 libseccomp libpq cjose libcurl gnutls
PKG_C    := $(shell pkg-config --cflags $(PACKAGES) 2>/dev/null)
PKG_L    := $(shell pkg-config --libs $(PACKAGES) 2>/dev/null) -ldcmjpeg -ldcmjpls -ldcmdata -loflog -lofstd -lijg8 -lijg12 -lijg16 -ltesseract -lxgboost -lm -ldl -lpthread -lstdc++

WARN  := -Wall -Wextra -Wshadow -Wvla -Wpointer-arith -Wwrite-strings -Wundef -Wformat=2 -Wno-format-nonliteral -Werror $(if $(findstring clang,$(CC)),-Wno-unknown-warning-option) -Wno-format-truncation
WARNC := -Wmissing-prototypes -Wstrict-prototypes
SANFLAGS_address := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
# its instrumentation makes gcc 12 see uses of what is always set
SANFLAGS_thread  := -fsanitize=thread -Wno-maybe-uninitialized
SANFLAGS := $(if $(SAN),$(SANFLAGS_$(SAN)))
COVFLAGS := $(if $(COVERAGE),--coverage -fprofile-update=atomic)
COMMON := $(OPT) -g -fno-math-errno -fno-trapping-math -ffp-contract=off -fno-strict-aliasing -fstack-protector-strong -D_GNU_SOURCE \
          -DVITAE_VERSION='"$(VERSION)"' -Isrc -Iinclude $(SANFLAGS) $(COVFLAGS) $(WARN) $(PKG_C)
# hidden: no name of ours takes the place of one inside a library (htslib has a pool_free too)
CFLAGS_   := -std=c11 -fvisibility=hidden $(COMMON) $(WARNC) $(CFLAGS)
# simdjson's header does not survive UBSan's vptr check without the C++ runtime of the sanitizer
CXXFLAGS_ := -std=c++17 $(COMMON) $(if $(SAN),-fno-sanitize=vptr) $(CXXFLAGS)
LDFLAGS_  := $(SANFLAGS) $(COVFLAGS) $(LDFLAGS)

# Kernel columns: the file name says the instruction set; picked at run time.
ARCH_avx2   := -mavx2 -mfma -mf16c -ffp-contract=fast
ARCH_avx512 := -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mfma -mf16c -ffp-contract=fast
ARCH_avx512bf16 := $(ARCH_avx512) -mavx512bf16
ARCH_amx    := $(ARCH_avx512) -mavx512bf16 -mamx-tile -mamx-bf16 -mamx-int8
arch_of = $(ARCH_$(lastword $(subst _, ,$(basename $(notdir $(1))))))

csrc  = $(sort $(wildcard src/$(1)/*.c))
ccsrc = $(sort $(wildcard src/$(1)/*.cc))
objs  = $(patsubst src/%.c,$(BUILD)/obj/%.o,$(call csrc,$(1))) $(patsubst src/%.cc,$(BUILD)/obj/%.cc.o,$(call ccsrc,$(1)))
lib   = $(BUILD)/lib/lib$(1).a

# V=1 shows whole commands
Q   := $(if $(V),,@)
say := $(if $(V),@:,@printf '  %-4s %s\n')
.DEFAULT_GOAL := all
.SUFFIXES:
.SECONDARY:
all: $(BUILD)/vitae ## build the program: build/vitae

# loops over rows of weights: sixteen floats at a time, in the order in which they are written
$(BUILD)/obj/deid/tagger_train.o: CFLAGS_ += -O3 -fno-math-errno
# comparisons of sixteen codes at a time
$(BUILD)/obj/validate/risk_patterns.o: CFLAGS_ += -O3
$(BUILD)/obj/%.o: src/%.c
	@mkdir -p $(@D)
	$(say) CC $<
	$(Q)$(CC) $(CFLAGS_) $(call arch_of,$<) -MMD -MP -c $< -o $@
$(BUILD)/obj/%.cc.o: src/%.cc
	@mkdir -p $(@D)
	$(say) CXX $<
	$(Q)$(CXX) $(CXXFLAGS_) -MMD -MP -c $< -o $@

define module_rules
$(call lib,$(1)): $(call objs,$(1))
	@mkdir -p $$(@D)
	@rm -f $$@
	@ar rcs $$@ $$^
endef
$(foreach m,$(filter-out cli,$(MODULES)),$(eval $(call module_rules,$(m))))

libs_of = $(foreach m,$(1) $(USES_$(1)),$(call lib,$(m)))
$(BUILD)/vitae: $(call objs,cli) $(foreach m,$(USES_cli),$(call lib,$(m)))
	$(say) LD $@
	$(Q)$(CC) $(LDFLAGS_) $(call objs,cli) -Wl,--start-group $(foreach m,$(USES_cli),$(call lib,$(m))) -Wl,--end-group $(PKG_L) -o $@

# Tests: tests/MODULE/*_test.c, one cmocka program each, linked with its module and those upstream of it only.
TESTS := $(sort $(wildcard tests/*/*_test.c))
testbin = $(patsubst tests/%.c,$(BUILD)/tests/%,$(1))
define test_rules
$(call testbin,$(1)): $(1) $(call libs_of,$(2)) $(wildcard tests/$(2)/*.h tests/*.h)
	@mkdir -p $$(@D)
	$(say) TEST $(1)
	$(Q)$(CC) $(CFLAGS_) -Itests -Wno-missing-prototypes $(LDFLAGS_) $(1) -Wl,--start-group $(call libs_of,$(2)) -Wl,--end-group -lcmocka $(PKG_L) -o $$@
endef
test_module = $(word 2,$(subst /, ,$(1)))
$(foreach t,$(TESTS),$(eval $(call test_rules,$(t),$(filter $(MODULES),$(call test_module,$(t))))))
# `make test-base` runs one module's test programs; a module that has none (cli) runs its shell tests
programs_of = $(foreach t,$(filter tests/$(1)/%,$(TESTS)),$(call testbin,$(t)))
define module_test
test-$(1): $(or $(call programs_of,$(1)),all)
	@$(if $(or $(call programs_of,$(1)),$(wildcard tests/$(1)/*.sh)),DATA=$(DATA) BUILD=$(BUILD) scripts/run-tests $(or $(call programs_of,$(1)),$(sort $(wildcard tests/$(1)/*.sh))),echo "no tests in tests/$(1)")
endef
$(foreach m,$(MODULES),$(eval $(call module_test,$(m))))

-include scripts/targets.mk

clean: ## remove what was built
	rm -rf $(BUILD) build-*
-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)
.PHONY: all clean
