# SPDX-License-Identifier: Apache-2.0
# Fuzz targets: each tests/fuzz/NAME_fuzz.c with FUZZ_PARTS_NAME makes build/tests/fuzz-NAME.
# Included by the Makefile.

FUZZ_PARTS_exit   := kernel/exception.c
FUZZ_PARTS_acpi   := $(wildcard boot/boot_acpi*.c) boot/boot_map.c boot/boot_nodes.c
FUZZ_PARTS_decode := vmm/emulate/decode.c vmm/emulate/decode_table.c
FUZZ_LIBS_decode  := -lZydis
FUZZ_PARTS_system := vmm/emulate/decode_system.c vmm/emulate/decode_table.c
FUZZ_LIBS_system  := -lZydis
FUZZ_PARTS_emulate  := $(wildcard vmm/emulate/*.c) vmm/cpu/step.c vmm/cpu/walk.c
FUZZ_PARTS_task     := $(wildcard vmm/cpu/task*.c) vmm/cpu/walk.c
FUZZ_PARTS_load     := $(wildcard vmm/load/*.c) vmm/memory.c lib/elf.c lib/fmt.c lib/string.c
FUZZ_PARTS_manifest := supervisor/manifest.c supervisor/manifest_keys.c
FUZZ_LIBS_manifest  := -lfdt
FUZZ_PARTS_syscall  := $(filter-out %/support_vcpu.c %/split_support.c,$(PARTS_kernel))
FUZZ_FLAGS := $(HOST_FLAGS) -fsanitize=fuzzer
FUZZES := $(patsubst tests/fuzz/%_fuzz.c,%,$(wildcard tests/fuzz/*_fuzz.c))

.PHONY: fuzz
fuzz: $(FUZZES:%=$(BUILD)/tests/fuzz-%)
$(BUILD)/fuzz/%.c.o: %.c
	$(call say,FUZZCC,$<)mkdir -p $(@D) && $(CC) $(FUZZ_FLAGS) -c $< -o $@
# They include worlds of unit tests, as those include whole modules.
$(BUILD)/fuzz/tests/%: FUZZ_FLAGS += -Wno-shadow -Wno-unused-function -Itests/fuzz/include
$(BUILD)/fuzz/kernel/%: FUZZ_FLAGS += -DBULKHEAD_DEBUG -include tests/unit/kernel/host.h
define fuzz_rule
$(BUILD)/tests/fuzz-$(1): $(patsubst %,$(BUILD)/fuzz/%.o,tests/fuzz/$(1)_fuzz.c $(FUZZ_PARTS_$(1)))
	$$(call say,LD,$$@)mkdir -p $$(@D) && $$(CC) -fsanitize=fuzzer,address,undefined -o $$@ $$^ $(FUZZ_LIBS_$(1))
endef
$(foreach f,$(FUZZES),$(eval $(call fuzz_rule,$(f))))

# Guests of the bench, on the runtime of the tiny guests.
BENCH_GUESTS := costs share realtime hog
BENCH_SHARED := $(patsubst %,$(BUILD)/tiny/tests/bench/%.o,measure.c measure.S)
.PHONY: bench-guests
bench-guests: $(BENCH_GUESTS:%=$(BUILD)/tests/bench/%.elf) $(BUILD)/tests/bench/empty.elf
$(BUILD)/tests/bench/costs.elf: $(BUILD)/tiny/tests/bench/pair.c.o
$(BENCH_GUESTS:%=$(BUILD)/tests/bench/%.elf): $(BUILD)/tests/bench/%.elf: \
        $(BUILD)/tiny/tests/bench/%.c.o $(BENCH_SHARED) $(TINY_RUNTIME) guests/tiny/tiny.ld
	$(call say,LD,$@)mkdir -p $(@D) && $(TINY_LINK) -o $@ $(filter %.o,$^)
$(BUILD)/tests/bench/empty.elf: $(BUILD)/tiny/tests/bench/empty.S.o guests/tiny/tiny.ld
	$(call say,LD,$@)mkdir -p $(@D) && $(TINY_LINK) --nmagic -o $@ $(filter %.o,$^)
