# SPDX-License-Identifier: MIT
#
# Tally's build: one file, out of tree.  `make help` lists what there is to say.
#
#   build/bin      programs                 build/tests    test binaries
#   build/lib      libtally (.a, .so, .pc)  build/gen      generated sources
#
# Folders say what a file becomes; nothing is listed here:
#   lib/*.c                 in every program
#   broker/*.c              tallyd (its main: broker/tallyd.c)
#   workers/*.c             every worker; workers/main_ROLE.c is the main of tally-ROLE
#   clients/*.c             libtally;  clients/cmd/*.c: the tally command (its main: clients/cmd/main.c)
#   clients/examples/X.c    build/examples/X, linked to libtally as a user would
#   tests/SUITE/test_X.c    build/tests/SUITE/test_X; other .c files there are linked to each of them
#   tests/faults/main_X.c   build/tests/faults/X
# A second tree for sanitizers: make BUILD=build/asan SANITIZE=1 ...
# A third with failpoints (lib/failpoint.h): make BUILD=build/faults FAILPOINTS=1 ...

BUILD ?= build
PREFIX ?= /usr/local
SYSCONFDIR ?= $(if $(filter /usr /usr/local,$(PREFIX)),/etc,$(PREFIX)/etc)
UNITDIR ?= $(PREFIX)/lib/systemd/system
DESTDIR ?=

SHELL = /bin/bash
CC = gcc
AR = gcc-ar
VERSION := $(shell sed -n 's/^\#define TALLY_VERSION "\(.*\)"/\1/p' lib/version.h)
SOVERSION := 0

PACKAGES = libzmq libczmq libpq jansson libsodium
# Without pkg-config there is no build, but `make deps` and `make help` must still work.
PKG_CFLAGS := $(shell pkg-config --cflags $(PACKAGES) cmocka 2>/dev/null)
LIBS_ZMQ = -lczmq -lzmq
LIBS_ALL = $(LIBS_ZMQ) -lpq -ljansson -lsodium -lm -lpthread

WARNINGS = -Wall -Wextra -Wconversion -Wshadow -Wformat=2 -Werror=format-security -Wbidi-chars=any -Werror
# Hardening that costs nothing measurable; tests/hardening.sh looks for it in what was built.  Zeroing of registers is
# left out: it does cost on the hot path.  Position independent code serves programs and libtally.so alike.
ifdef SANITIZE
HARDENING =
WARNINGS += -Wno-error -Wno-conversion -Wno-format-truncation   # false with instrumented code
CODE = -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
LINK = -fsanitize=address,undefined
else ifdef MSAN
HARDENING =
WARNINGS = -Wall -Wno-unknown-warning-option
CODE = -O1 -g -fno-omit-frame-pointer -fsanitize=memory -fsanitize-memory-track-origins -fno-sanitize-recover=all \
       -Itests/msan -include tests/msan/written.h
LINK = -fsanitize=memory
else
HARDENING = -D_FORTIFY_SOURCE=3 -fstack-protector-strong -fstack-clash-protection -fcf-protection=full \
            -ftrivial-auto-var-init=zero
CODE = -O2 -g
LINK = -Wl,-z,relro,-z,now,-z,noexecstack,--as-needed
endif
ifdef FAILPOINTS
CODE += -DTALLY_FAILPOINTS
endif
ALL_CFLAGS = -std=gnu11 -D_GNU_SOURCE -I. $(PKG_CFLAGS) $(WARNINGS) $(CODE) $(HARDENING) -fPIC \
             -fno-semantic-interposition -fno-delete-null-pointer-checks -fno-strict-aliasing \
             -pthread $(CFLAGS)
ALL_LDFLAGS = $(LINK) -pthread $(LDFLAGS)

# Commands are shown in short; V=1 shows them whole.
Q = $(if $(V),,@)
say = $(if $(V),,@printf '  %-6s %s\n' $(1) $(2))

# ---- what there is --------------------------------------------------------------------------------------

object = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))

MIGRATIONS = $(sort $(wildcard schemas/sql/*.sql))
LIB_OBJECTS = $(call object,$(wildcard lib/*.c)) $(BUILD)/obj/gen/migrations.o
BROKER_OBJECTS = $(call object,$(filter-out broker/tallyd.c,$(wildcard broker/*.c)))
ROLES = $(patsubst workers/main_%.c,%,$(wildcard workers/main_*.c))
WORKER_OBJECTS = $(call object,$(filter-out workers/main_%.c,$(wildcard workers/*.c)))
CLIENT_OBJECTS = $(call object,$(wildcard clients/*.c))
COMMAND_OBJECTS = $(call object,$(filter-out clients/cmd/main.c,$(wildcard clients/cmd/*.c)))

PROGRAMS = $(if $(wildcard broker/tallyd.c),$(BUILD)/bin/tallyd) $(ROLES:%=$(BUILD)/bin/tally-%) \
           $(if $(wildcard clients/cmd/main.c),$(BUILD)/bin/tally)
LIBTALLY = $(if $(CLIENT_OBJECTS),$(BUILD)/lib/libtally.a $(BUILD)/lib/libtally.so $(BUILD)/lib/tally.pc)
EXAMPLES = $(if $(CLIENT_OBJECTS),$(patsubst clients/examples/%.c,$(BUILD)/examples/%,$(wildcard clients/examples/*.c)))
UNITS = $(wildcard systemd/*.service systemd/*.target)

SUITES = unit protocol simulation fuzz faults integration
TEST_SOURCES = $(foreach suite,$(SUITES),$(wildcard tests/$(suite)/test_*.c))
TESTS = $(TEST_SOURCES:tests/%.c=$(BUILD)/tests/%)

.PHONY: FORCE all programs failpoint-programs help install demo test run-tests check simulate faults measure edges planted fuzz fuzzers asan memcheck \
        tidy format bench deps clean
.DELETE_ON_ERROR:
.SECONDARY:

all: $(PROGRAMS) $(LIBTALLY) $(EXAMPLES) ## everything, into build/ (the default)

help: ## this text
	@echo "targets:"
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  \1~\2/p' Makefile | awk -F'~' '{printf "%-12s %s\n", $$1, $$2}'
	@echo "variables: PREFIX=$(PREFIX) DESTDIR=$(DESTDIR) SYSCONFDIR=$(SYSCONFDIR) UNITDIR=$(UNITDIR) CFLAGS LDFLAGS"

# ---- compiling and linking ------------------------------------------------------------------------------

# Changes when the flags do, and with it every object.
$(BUILD)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(CC) $(ALL_CFLAGS)' | cmp -s - $@ || echo '$(CC) $(ALL_CFLAGS)' > $@

$(BUILD)/obj/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,cc,$<)
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -c $< -o $@

$(BUILD)/gen/migrations.c: schemas/embed.awk $(MIGRATIONS)
	@mkdir -p $(@D)
	$(call say,gen,$@)
	$(Q)LC_ALL=C awk -f schemas/embed.awk $(MIGRATIONS) > $@

$(BUILD)/obj/gen/migrations.o: $(BUILD)/gen/migrations.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,cc,$<)
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -c $< -o $@

define archive
	@rm -f $@
	$(call say,ar,$@)
	$(Q)$(AR) rcsD $@ $^
endef
$(BUILD)/lib.a: $(LIB_OBJECTS)
	$(archive)
$(BUILD)/broker.a: $(BROKER_OBJECTS)
	$(archive)
$(BUILD)/workers.a: $(WORKER_OBJECTS)
	$(archive)
$(BUILD)/clients.a: $(CLIENT_OBJECTS)
	$(archive)
$(BUILD)/cmd.a: $(COMMAND_OBJECTS)
	$(archive)

define program
	@mkdir -p $(@D)
	$(call say,link,$@)
	$(Q)$(CC) -pie $(ALL_LDFLAGS) -o $@ $^ $(LIBS_ALL)
endef
$(BUILD)/bin/tallyd: $(BUILD)/obj/broker/tallyd.o $(BUILD)/broker.a $(BUILD)/lib.a
	$(program)
$(BUILD)/bin/tally: $(BUILD)/obj/clients/cmd/main.o $(BUILD)/cmd.a $(BUILD)/clients.a $(BUILD)/lib.a
	$(program)
$(BUILD)/bin/tally-%: $(BUILD)/obj/workers/main_%.o $(BUILD)/workers.a $(BUILD)/lib.a
	$(program)

# ---- libtally -------------------------------------------------------------------------------------------
# What clients/tally.h declares is visible, nothing else.  lib.a gives only what clients/ needs of it; that
# libpq is not among it is checked by --no-undefined.

$(BUILD)/gen/libtally.names: clients/tally.h
	@mkdir -p $(@D)
	$(Q)grep -v '^//' $< | grep -o 'tally_[a-z0-9_]* *(' | tr -d ' (' | sort -u > $@

$(BUILD)/gen/libtally.map: $(BUILD)/gen/libtally.names
	$(Q)(echo 'TALLY_$(SOVERSION) {'; echo 'global:'; sed 's/$$/;/' $<; echo 'local: *; };') > $@

$(BUILD)/obj/libtally.o: $(CLIENT_OBJECTS) $(BUILD)/lib.a $(BUILD)/gen/libtally.names
	$(call say,link,$@)
	$(Q)$(CC) -r -nostdlib -o $@ $(CLIENT_OBJECTS) $(BUILD)/lib.a
	$(Q)objcopy --keep-global-symbols=$(BUILD)/gen/libtally.names $@

$(BUILD)/lib/libtally.a: $(BUILD)/obj/libtally.o
	@mkdir -p $(@D)
	$(archive)

$(BUILD)/lib/libtally.so.$(VERSION): $(CLIENT_OBJECTS) $(BUILD)/lib.a $(BUILD)/gen/libtally.map
	@mkdir -p $(@D)
	$(call say,link,$@)
	$(Q)$(CC) -shared $(ALL_LDFLAGS) $(if $(SANITIZE),,-Wl,--no-undefined) -Wl,-soname,libtally.so.$(SOVERSION) \
	    -Wl,--version-script=$(BUILD)/gen/libtally.map -o $@ $(CLIENT_OBJECTS) $(BUILD)/lib.a \
	    $(LIBS_ZMQ) -ljansson -lsodium

$(BUILD)/lib/libtally.so: $(BUILD)/lib/libtally.so.$(VERSION)
	$(Q)ln -sf libtally.so.$(VERSION) $(@D)/libtally.so.$(SOVERSION)
	$(Q)ln -sf libtally.so.$(SOVERSION) $@

$(BUILD)/lib/tally.pc: clients/tally.pc.in lib/version.h Makefile
	@mkdir -p $(@D)
	$(Q)sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@VERSION@|$(VERSION)|' $< > $@

$(BUILD)/examples/%: clients/examples/%.c $(BUILD)/lib/libtally.so
	@mkdir -p $(@D)
	$(call say,link,$@)
	$(Q)$(CC) $(ALL_CFLAGS) -Iclients $(ALL_LDFLAGS) -o $@ $< -L$(BUILD)/lib -ltally $(LIBS_ZMQ) '-Wl,-rpath,$$ORIGIN/../lib'

# ---- tests ----------------------------------------------------------------------------------------------
# A test is linked to the folders whose headers it or its companions include, and to lib.

companions = $(call object,$(filter-out %/main.c $(dir $(1))main_%.c $(dir $(1))test_%.c,$(wildcard $(dir $(1))*.c)) \
                            $(if $(findstring tests/faults/,$(1)),tests/integration/marker.c))
folders_of = $(sort $(shell sed -n 's!^\#include "\(broker\|workers\|clients/cmd\|clients\)/.*!\1!p' \
                 $(1) $(filter-out $(dir $(1))test_%,$(wildcard $(dir $(1))*.[ch]))))
archives_of = $(if $(filter clients/cmd,$(1)),$(BUILD)/cmd.a $(BUILD)/clients.a) \
              $(patsubst %,$(BUILD)/%.a,$(filter-out clients/cmd,$(1))) $(BUILD)/lib.a

# What a test takes from another suite.
borrowed_test_broadcast = tests/integration/descriptors.c
borrowed_test_dump = tests/integration/pg.c
borrowed_test_cut = tests/integration/pg.c
borrowed_test_fence = tests/integration/pg.c
borrowed_test_truth = tests/integration/pg.c
borrowed_test_failpoint = tests/integration/pg.c tests/integration/survey_data.c
borrowed_test_partition = tests/integration/instance.c
borrowed_test_proxied = tests/integration/instance.c tests/integration/survey_data.c
borrowed = $(borrowed_$(1)) $(if $(borrowed_$(1)),tests/integration/marker.c)

define test_rule
$(BUILD)/tests/$(1): $(BUILD)/obj/tests/$(1).o $(call companions,tests/$(1).c) \
                     $(call object,$(call borrowed,$(notdir $(1)))) \
                     $(call archives_of,$(call folders_of,tests/$(1).c))
	@mkdir -p $$(@D)
	$$(call say,link,$$@)
	$$(Q)$$(CC) -pie $$(ALL_LDFLAGS) -o $$@ $$^ $$(LIBS_ALL) -lcmocka
endef
$(foreach test,$(TEST_SOURCES:tests/%.c=%),$(eval $(call test_rule,$(test))))

# Programs and harness with failpoints: this tree when it is built so, else one below it.
FAULTS = $(FAILPOINT_BUILD)/tests/faults/faults
FAILPOINT_BUILD = $(if $(FAILPOINTS),$(BUILD),$(BUILD)/faults)
ifdef FAILPOINTS
failpoint-programs: programs $(FAULTS)
else
failpoint-programs:
	@$(MAKE) --no-print-directory BUILD=$(FAILPOINT_BUILD) FAILPOINTS=1 programs $(FAULTS)
endif
programs: $(PROGRAMS)

# The simulator shares the model database with the unit tests.
MODEL_OBJECTS = $(call object,$(wildcard tests/unit/fake_store*.c))
$(BUILD)/tests/simulation/test_simulation: $(MODEL_OBJECTS)
$(BUILD)/tests/simulation/simulate: $(call object,$(filter-out tests/simulation/test_%.c,$(wildcard tests/simulation/*.c))) \
                                    $(MODEL_OBJECTS) $(BUILD)/broker.a $(BUILD)/lib.a
	@mkdir -p $(@D)
	$(call say,link,$@)
	$(Q)$(CC) -pie $(ALL_LDFLAGS) -o $@ $^ $(LIBS_ALL)

# Programs of the fault harness: main_X.c becomes build/tests/faults/X.
FAULT_PROGRAMS = $(patsubst tests/faults/main_%.c,$(BUILD)/tests/faults/%,$(wildcard tests/faults/main_*.c))
$(FAULT_PROGRAMS): $(BUILD)/tests/faults/%: $(BUILD)/obj/tests/faults/main_%.o $(call companions,tests/faults/) \
                   $(call archives_of,$(call folders_of,$(firstword $(wildcard tests/faults/main_*.c))))
	@mkdir -p $(@D)
	$(call say,link,$@)
	$(Q)$(CC) -pie $(ALL_LDFLAGS) -o $@ $^ $(LIBS_ALL)

ONE_MINUTE = $(if $(filter-out file default undefined,$(origin SECONDS)),$(SECONDS),60)
faults: failpoint-programs ## real processes, real faults, a verdict: make faults [SECONDS=60] [SEED=n] [ARGS='--profile broker']
	@TALLY_BIN_DIR=$(abspath $(FAILPOINT_BUILD)/bin) $(FAULTS) --seconds $(ONE_MINUTE) --seed $(SEED) $(ARGS)

KILLS ?= 200
measure: $(BUILD)/tests/faults/faults $(PROGRAMS) ## how long work stands still when a worker, a term holder or the broker is killed: make measure [KILLS=200]
	@TALLY_BIN_DIR=$(abspath $(BUILD)/bin) $< --measure $(KILLS) --seed $(SEED) $(ARGS)

edges: $(BUILD)/tests/faults/test_truth $(BUILD)/tests/faults/test_fence $(PROGRAMS) failpoint-programs ## tallyd cut after every byte, stopped at every point of a tick
	@TALLY_CUT_STEP=1 $(PLACES) $<
	@TALLY_FAULTS_FULL=1 $(PLACES) $(BUILD)/tests/faults/test_fence

SEEDS ?= 10000
SEED ?= 1
simulate: $(BUILD)/tests/simulation/simulate ## the core under simulated faults: make simulate [SEEDS=10000] [SEED=first]
	@$< --seeds $(SEEDS) --first $(SEED)

planted: $(BUILD)/tests/simulation/simulate failpoint-programs ## defects compiled in on purpose: do simulator and fault harness find each of them?
	@code=0; tests/simulation/planted.sh $(BUILD) || code=1; tests/faults/planted.sh $(FAILPOINT_BUILD) || code=1; exit $$code

# Fuzz targets: the same functions are a test over their corpora, and libFuzzer's under clang (tests/fuzz/fuzz.sh).
$(BUILD)/tests/fuzz/test_corpora: $(MODEL_OBJECTS)
FUZZERS = $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
$(FUZZERS:%=$(BUILD)/obj/tests/fuzz/main_%.o): $(BUILD)/obj/tests/fuzz/main_%.o: tests/fuzz/main.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) -DFUZZ_TARGET=fuzz_$* -MMD -MP -c $< -o $@
$(FUZZERS:%=$(BUILD)/tests/fuzz/fuzz_%): $(BUILD)/tests/fuzz/fuzz_%: $(BUILD)/obj/tests/fuzz/main_%.o $(BUILD)/obj/tests/fuzz/fuzz_%.o \
                            $(call object,$(wildcard tests/fuzz/play*.c)) $(MODEL_OBJECTS) \
                            $(BUILD)/broker.a $(BUILD)/workers.a $(BUILD)/lib.a
	@mkdir -p $(@D)
	$(call say,link,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIBS_ALL)
fuzzers: $(FUZZERS:%=$(BUILD)/tests/fuzz/fuzz_%)

fuzz: ## every input from outside under libFuzzer, one target after another: make fuzz [SECONDS=60] [T=name]
	@tests/fuzz/fuzz.sh $(BUILD) $(ONE_MINUTE) $(T)

test: deps ## build, then unit, protocol and integration tests; what CI runs
	@$(MAKE) --no-print-directory all run-tests

PLACES = TALLY_BIN_DIR=$(abspath $(BUILD)/bin) TALLY_FAILPOINT_BIN_DIR=$(abspath $(FAILPOINT_BUILD)/bin)
run-tests: $(PROGRAMS) $(TESTS) $(BUILD)/tests/bench/bench failpoint-programs
	@$(PLACES) tests/run.sh $(BUILD) $(SUITES)

# Unit tests run no program of ours; the others may.
check: $(if $(wildcard tests/unit/test_$(T).c),,$(PROGRAMS)) $(if $(filter failpoint fence faults,$(T)),failpoint-programs) $(filter %/test_$(T),$(TESTS)) ## one test binary: make check T=name [N='*pattern*']
	@test -n "$(T)" || { echo "say which: make check T=name [N='*pattern*']"; exit 64; }
	@test -n "$(filter %/test_$(T),$(TESTS))" || { echo "there is no tests/*/test_$(T).c"; exit 64; }
	@for test in $(filter %/test_$(T),$(TESTS)); do \
	    $(PLACES) $$test $(if $(N),'$(N)') || exit 1; done

# Daemons report into files, so what they did wrong in a test that passed counts as well.
REPORTS = $(abspath build/asan/reports)
asan: ## the same tests under AddressSanitizer and UBSan, in build/asan
	@rm -rf $(REPORTS) && mkdir -p $(REPORTS) && chmod 1777 $(REPORTS)
	@code=0; \
	ASAN_OPTIONS=detect_stack_use_after_return=1:log_path=$(REPORTS)/asan \
	UBSAN_OPTIONS=print_stacktrace=1:log_path=$(REPORTS)/ubsan \
	LSAN_OPTIONS=suppressions=$(abspath tests/lsan.supp):print_suppressions=0 \
	    $(MAKE) --no-print-directory BUILD=build/asan SANITIZE=1 FAILPOINTS=1 all run-tests || code=1; \
	for report in $(REPORTS)/*; do [ ! -e "$$report" ] || { cat "$$report"; code=1; }; done; exit $$code

# Without test_statistics: valgrind computes long double with 64 bits, so its figures differ in the last digit.  Without
# test_runtime: it starts itself as a worker, which valgrind does not let it do.  Without test_failover: it is about times
# that valgrind does not keep.  Without test_broadcast: it has a thousand threads, and valgrind five hundred.
MEMCHECK_TESTS = $(filter-out %/test_statistics %/test_tidy %/test_runtime %/test_failover %/test_broadcast,$(filter $(BUILD)/tests/unit/% $(BUILD)/tests/protocol/%,$(TESTS)))
memcheck: $(MEMCHECK_TESTS) ## unit and protocol tests that need no server under valgrind
	@TALLY_TEST_WRAPPER="valgrind -q --error-exitcode=99 --leak-check=full --show-leak-kinds=definite \
	    --errors-for-leak-kinds=definite --suppressions=tests/valgrind.supp" TALLY_TEST_SECONDS=600 TALLY_RANDOM_RUNS=20 \
	    tests/run.sh $(BUILD) $(MEMCHECK_TESTS)

# What neither reads what jansson, czmq or libpq wrote nor starts programs: they are not instrumented.
MSAN_NAMES = alloc config core_% deque endpoints greeting heap histogram lobby log marks meter nearest newcomers plan sender subscriber table \
             window wire wire_messages
MSAN_TESTS = $(foreach name,$(MSAN_NAMES),$(filter %/test_$(name),$(TESTS)))
msan: ## core and codec under MemorySanitizer, in build/msan
	@$(MAKE) --no-print-directory BUILD=build/msan MSAN=1 CC=clang run-msan

run-msan: $(MSAN_TESTS)
	@MSAN_OPTIONS=exitcode=99 tests/run.sh $(BUILD) $(MSAN_TESTS)

SOURCES = $(wildcard lib/*.[ch] broker/*.[ch] workers/*.[ch] clients/*.[ch] clients/cmd/*.[ch] clients/examples/*.[ch] \
            tests/*/*.[ch])
tidy: ## formatting, clang-tidy and the project's own rules
	@clang-format --dry-run -Werror $(SOURCES)
	@echo $(filter %.c,$(SOURCES)) | xargs -n 8 -P $$(nproc) sh -c \
	    'clang-tidy --quiet "$$@" -- -std=gnu11 -D_GNU_SOURCE -I. -Iclients $(PKG_CFLAGS)' clang-tidy 2>&1 \
	    | grep -v 'warnings generated\|warnings treated' ; exit $${PIPESTATUS[1]}
	tests/tidy/tidy.sh

format: ## rewrite every source as .clang-format says
	@clang-format -i $(SOURCES)

demo: deps ## install what is missing, build, and see a private instance at work
	@$(MAKE) --no-print-directory all
	@TALLY_BIN_DIR=$(abspath $(BUILD)/bin) tests/demo.sh

# The driver shares the instance, the survey data and the hand-made CURVE peer of the integration tests.
$(BUILD)/tests/bench/bench: $(call object,$(wildcard tests/bench/*.c) tests/integration/instance.c tests/integration/marker.c \
                              tests/integration/survey_data.c tests/integration/raw_curve.c tests/integration/descriptors.c) \
                            $(BUILD)/cmd.a $(BUILD)/clients.a $(BUILD)/broker.a $(BUILD)/lib.a
	@mkdir -p $(@D)
	$(call say,link,$@)
	$(Q)$(CC) -pie $(ALL_LDFLAGS) -o $@ $^ $(LIBS_ALL) -lcmocka

comma = ,
bench: all $(BUILD)/tests/bench/bench ## figures against floors: make bench [B=messages,latency] [SECONDS=2] [ROUNDS=3] [JSON=FILE]
	@TALLY_BIN_DIR=$(abspath $(BUILD)/bin) $(BUILD)/tests/bench/bench $(if $(SECONDS),--seconds $(SECONDS)) \
	    $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(JSON),--json $(JSON)) $(subst $(comma), ,$(B))

deps: ## install the Debian packages that are missing
	@tests/deps.sh

# ---- install --------------------------------------------------------------------------------------------

install: all ## programs, library, units and a sample configuration under PREFIX
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/pkgconfig $(DESTDIR)$(PREFIX)/include \
	    $(DESTDIR)$(UNITDIR) $(DESTDIR)$(SYSCONFDIR)/tally
	install -m 755 $(PROGRAMS) $(DESTDIR)$(PREFIX)/bin
	install -m 644 $(BUILD)/lib/libtally.a $(BUILD)/lib/libtally.so.$(VERSION) $(DESTDIR)$(PREFIX)/lib
	ln -sf libtally.so.$(VERSION) $(DESTDIR)$(PREFIX)/lib/libtally.so.$(SOVERSION)
	ln -sf libtally.so.$(SOVERSION) $(DESTDIR)$(PREFIX)/lib/libtally.so
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@VERSION@|$(VERSION)|' clients/tally.pc.in \
	    > $(DESTDIR)$(PREFIX)/lib/pkgconfig/tally.pc
	install -m 644 clients/tally.h $(DESTDIR)$(PREFIX)/include
	for unit in $(UNITS); do sed -e 's|/usr/local/bin|$(PREFIX)/bin|' -e 's|/etc/tally|$(SYSCONFDIR)/tally|' $$unit \
	    > $(DESTDIR)$(UNITDIR)/$${unit##*/} || exit 1; done
	test -e $(DESTDIR)$(SYSCONFDIR)/tally/tally.conf \
	    || install -m 640 systemd/tally.conf $(DESTDIR)$(SYSCONFDIR)/tally/tally.conf

clean: ## remove build/
	rm -rf $(BUILD)

-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)
