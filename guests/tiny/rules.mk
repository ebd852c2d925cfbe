# SPDX-License-Identifier: Apache-2.0
# Tiny guests: each guests/tiny/NAME.c with the runtime makes build/guests/tiny/NAME.elf. Included
# by the Makefile.

TINY_FLAGS := -std=c17 -O2 -I. -Iguests/tiny -MMD -MP -ffreestanding -fno-stack-protector \
        -fno-asynchronous-unwind-tables -fno-pic -mno-red-zone -mgeneral-regs-only \
        -ffile-prefix-map=$(CURDIR)=. $(WARN)
TINY_LINK = $(LD) -T guests/tiny/tiny.ld -z max-page-size=4096 -z noexecstack --build-id=none
TINY_NAMES   := $(patsubst guests/tiny/%.c,%,$(wildcard guests/tiny/*.c))
TINY_RUNTIME := $(patsubst %,$(BUILD)/tiny/%.o,$(wildcard guests/tiny/runtime/*.c guests/tiny/runtime/*.S) \
        lib/fmt.c lib/string.c lib/text.c)
$(BUILD)/guests/tiny/entry-%.elf: TINY_LINK += -e entry_32
# Its real mode's stores reach 64 KiB beyond 1 MiB.
$(BUILD)/guests/tiny/hostile-modes.elf: TINY_LINK += --defsym=image_start=0x110000

.PHONY: tiny
tiny: $(TINY_NAMES:%=$(BUILD)/guests/tiny/%.elf)

$(BUILD)/tiny/%.c.o: %.c
	$(call say,CC,$<)mkdir -p $(@D) && $(CC) $(TINY_FLAGS) -c $< -o $@
$(BUILD)/tiny/%.S.o: %.S
	$(call say,AS,$<)mkdir -p $(@D) && $(CC) $(TINY_FLAGS) -c $< -o $@
$(BUILD)/guests/tiny/%.elf: $(BUILD)/tiny/guests/tiny/%.c.o $(TINY_RUNTIME) guests/tiny/tiny.ld
	$(call say,LD,$@)mkdir -p $(@D) && $(TINY_LINK) -o $@ $(filter %.o,$^)
