# SPDX-License-Identifier: Apache-2.0
# Bulkhead's one Makefile. `make help` lists the targets; V=1 shows the commands.

BUILD   := build
VERSION := 0.1
CACHE   := $(or $(BULKHEAD_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/bulkhead)
CC      := clang
LD      := ld.lld
ifneq ($(V),1)
Q := @
say = @printf '  %-6s %s\n' $(1) $(2);
endif

WARN := -Wall -Wextra -Werror -Wconversion -Wshadow -Wmissing-prototypes -Wimplicit-fallthrough -Wvla
BASE := -std=c17 -O2 -I. -I$(BUILD)/include -MMD -MP -ffreestanding -fno-stack-protector \
        -fno-asynchronous-unwind-tables -fno-pic -mno-red-zone -mgeneral-regs-only \
        -ffile-prefix-map=$(CURDIR)=. $(WARN)
KERNEL_FLAGS := $(BASE) -Wframe-larger-than=1024 -mcmodel=kernel -DBULKHEAD_VERSION='"$(VERSION)"'
USER_FLAGS   := $(BASE) -Wframe-larger-than=2048 -mcmodel=small -static
ifeq ($(DEBUG),1)
KERNEL_FLAGS += -DBULKHEAD_DEBUG
endif
EFI_FLAGS := -target x86_64-unknown-windows -std=c17 -O2 -I. -I$(BUILD)/include -MMD -MP -ffreestanding -fshort-wchar \
        -fno-stack-protector -mno-red-zone -mgeneral-regs-only $(WARN) \
        -isystem /usr/include/efi -isystem /usr/include/efi/x86_64
SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=undefined # of the host tests
HOST_FLAGS := -std=gnu17 -O1 -g -I. -I$(BUILD)/include -MMD -MP -D_GNU_SOURCE $(SANITIZE) \
        -fno-omit-frame-pointer $(WARN) -DBULKHEAD_VERSION='"$(VERSION)"'

# ---- what is built from what ---------------------------------------------------------------------
LIB        := $(wildcard lib/*.c)
KERNEL_SRC := $(wildcard arch/*.c arch/*.S kernel/*.c vmx/*.c vmx/*.S svm/*.c svm/*.S) \
              lib/fmt.c lib/heap.c lib/pagetable.c lib/string.c
USER_LIB   := lib/elf.c lib/fmt.c lib/ring.c lib/string.c lib/text.c lib/start.S
SUPER_SRC  := $(wildcard supervisor/*.c) $(USER_LIB) lib/words.c
CONSOLE_SRC := $(wildcard drivers/console/*.c) lib/string.c lib/start.S
VMM_SRC    := $(wildcard vmm/*.c vmm/*/*.c) $(USER_LIB)
BOOT_SRC   := $(wildcard boot/*.c) lib/crc32.c lib/elf.c lib/fmt.c lib/string.c lib/text.c lib/words.c

objects = $(patsubst %,$(BUILD)/$(1)/%.o,$(2))
KERNEL_OBJ := $(call objects,ring0,$(KERNEL_SRC))
SUPER_OBJ  := $(call objects,ring3,$(SUPER_SRC))
CONSOLE_OBJ := $(call objects,ring3,$(CONSOLE_SRC))
VMM_OBJ    := $(call objects,ring3,$(VMM_SRC))
BOOT_OBJ   := $(call objects,efi,$(BOOT_SRC))

FONT := $(CACHE)/font/font.psf.gz
GENERATED := $(BUILD)/include/include/font.h $(patsubst %.asl,$(BUILD)/include/%.h,$(wildcard vmm/acpi/*.asl))
PARTS := $(BUILD)/boot/BOOTX64.EFI $(BUILD)/kernel.elf $(BUILD)/supervisor.elf $(BUILD)/vmm.elf \
         $(BUILD)/console.elf
DEBIAN := $(addprefix $(BUILD)/guests/debian/,manifest.toml selfcheck.toml selfcheck-2.toml \
          selfcheck-4.toml vmlinuz initrd.img wake.img)

.PHONY: help all run test proof check bench mutate soak image image-parts setup clean
.DEFAULT_GOAL := help

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  variables: V=1 shows commands, DEBUG=1 builds a kernel that checks its locks"

all: setup ## everything that an image holds
	$(Q)$(MAKE) --no-print-directory image-parts

run: setup ## build, boot, and type into a Debian guest
	$(Q)scripts/run $(RUN)

test: ## all tests; ends in one line `N passed, N failed, N skipped`
	$(Q)scripts/setup --proof --quiet
	$(Q)tests/run

proof: ## what is proved of the code, by Frama-C and Z3
	$(Q)scripts/setup --proof --quiet
	$(Q)tests/proof/run

check: setup ## format, static analysis, layers, headers, names in the docs
	$(Q)tests/check/run

bench: setup ## a table of costs, and one JSON line a figure
	$(Q)tests/bench/run

mutate: setup ## plants faults one at a time, to see which test dies of each: hours; MUTATE="--plain": half an hour
	$(Q)tests/mutate/run $(MUTATE)

soak: setup ## hostile guests with new seeds for an hour; SOAK="--minutes 600 --model ..."
	$(Q)$(MAKE) --no-print-directory image-parts tiny wall fuzz debian peer
	$(Q)tests/soak/run $(SOAK)

image: setup ## images with the Debian guest: build/bulkhead.img (USB stick), .iso (CD), .efi (PXE, HTTP boot)
	$(Q)$(MAKE) --no-print-directory image-parts debian
	$(Q)for form in img iso efi; do \
	    tools/image --manifest $(BUILD)/guests/debian/manifest.toml --out $(BUILD)/bulkhead.$$form || exit; done

setup: ## bring what this machine lacks (the other targets do it by themselves)
	$(Q)scripts/setup --quiet

clean: ## remove what was built (not what was set up)
	$(Q)rm -rf $(BUILD)

image-parts: $(PARTS)
.SECONDARY:
.PHONY: debian debian-stress peer
debian: $(DEBIAN)
peer: # Debian's standard kernel with KVM, for what runs below it or beside it
	$(Q)scripts/setup --peer
debian-stress: $(addprefix $(BUILD)/guests/debian/,stress.toml stress.img vmlinuz)

# ---- rules ---------------------------------------------------------------------------------------
$(BUILD)/ring0/%.c.o: %.c | $(GENERATED)
	$(call say,CC,$<)mkdir -p $(@D) && $(CC) $(KERNEL_FLAGS) -c $< -o $@
$(BUILD)/ring0/%.S.o: %.S
	$(call say,AS,$<)mkdir -p $(@D) && $(CC) $(KERNEL_FLAGS) -D__ASSEMBLY__ -c $< -o $@
$(BUILD)/ring3/%.c.o: %.c | $(GENERATED)
	$(call say,CC,$<)mkdir -p $(@D) && $(CC) $(USER_FLAGS) -c $< -o $@
$(BUILD)/ring3/%.S.o: %.S
	$(call say,AS,$<)mkdir -p $(@D) && $(CC) $(USER_FLAGS) -c $< -o $@
$(BUILD)/efi/%.c.o: %.c | $(GENERATED)
	$(call say,CC,$<)mkdir -p $(@D) && $(CC) $(EFI_FLAGS) -c $< -o $@

$(BUILD)/kernel.elf: $(KERNEL_OBJ) linker.ld
	$(call say,LD,$@)$(LD) -T linker.ld -z max-page-size=4096 --build-id=none -o $@ $(KERNEL_OBJ)
USER_LINK := -z max-page-size=4096 -z separate-code -z noexecstack --build-id=none --image-base=0x400000 -e _start
$(BUILD)/supervisor.elf: $(SUPER_OBJ)
	$(call say,LD,$@)$(LD) $(USER_LINK) -o $@ $(SUPER_OBJ) /usr/lib/x86_64-linux-gnu/libfdt.a
$(BUILD)/vmm.elf: $(VMM_OBJ)
	$(call say,LD,$@)$(LD) $(USER_LINK) -o $@ $(VMM_OBJ)
$(BUILD)/console.elf: $(CONSOLE_OBJ)
	$(call say,LD,$@)$(LD) $(USER_LINK) -o $@ $(CONSOLE_OBJ)
$(BUILD)/boot/BOOTX64.EFI: $(BOOT_OBJ)
	$(call say,LD,$@)mkdir -p $(@D) && lld-link -subsystem:efi_application -entry:efi_main -nodefaultlib \
	    -Brepro -out:$@ $(BOOT_OBJ)

$(BUILD)/include/include/font.h: drivers/font/mkfont $(FONT)
	$(call say,GEN,$@)mkdir -p $(@D) && python3 drivers/font/mkfont $(FONT) $@
$(BUILD)/include/vmm/acpi/%.h: vmm/acpi/%.asl
	$(call say,IASL,$<)mkdir -p $(@D) && iasl -we -vs -tc -p $(BUILD)/include/vmm/acpi/$* $< >$(@:.h=.log) || \
	    { cat $(@:.h=.log); exit 1; }; mv -f $(@:.h=.hex) $@

$(BUILD)/guests/debian/%.toml: guests/debian/%.toml
	$(call say,CP,$@)mkdir -p $(@D) && cp $< $@
$(BUILD)/guests/debian/vmlinuz: $(CACHE)/guest/vmlinuz
	$(call say,CP,$@)mkdir -p $(@D) && cp $< $@
$(BUILD)/guests/debian/stress.img: $(wildcard guests/debian/*) $(CACHE)/stress/bin/stress-ng
	$(call say,GEN,$@)mkdir -p $(@D) && guests/debian/mkinitramfs $@ stress
$(BUILD)/guests/debian/wake.img: $(wildcard guests/debian/*)
	$(call say,GEN,$@)mkdir -p $(@D) && guests/debian/mkinitramfs $@ wake
$(BUILD)/guests/debian/initrd.img: $(wildcard guests/debian/*)
	$(call say,GEN,$@)mkdir -p $(@D) && guests/debian/mkinitramfs $@

# ---- unit tests: one Criterion binary a ring, with what it tests, under ASan and UBSan -----------
UNIT := $(BUILD)/tests
unit_in = $(wildcard $(1:%=tests/unit/%/*_test.c))
TESTS_lib        := $(call unit_in,boot lib)
PARTS_lib        := $(wildcard boot/boot_*.c) $(LIB)
TESTS_vmm        := $(call unit_in,vmm vmm/*)
PARTS_vmm        := $(filter-out vmm/main.c,$(VMM_SRC:lib/start.S=))
include tests/unit/rules.mk # UNIT_KERNEL_PARTS, UNIT_SUPERVISOR_PARTS, what needs a word more
TESTS_supervisor := $(call unit_in,supervisor)
PARTS_supervisor := $(UNIT_SUPERVISOR_PARTS) lib/fmt.c lib/ring.c lib/elf.c lib/words.c $(wildcard tests/unit/supervisor/support*.c)
TESTS_drivers    := $(call unit_in,drivers/*)
PARTS_drivers    := lib/ring.c
TESTS_vmx        := $(wildcard tests/unit/vmx/backend_*_test.c)
BOOT_GATES       := boot/boot_report.c boot/boot_svm.c boot/boot_vmx.c boot/boot_vmx_control.c lib/fmt.c lib/string.c
PARTS_vmx        := $(UNIT_VMX_PARTS) $(BOOT_GATES) tests/unit/vmx/support.c
TESTS_kernel     := $(filter-out $(TESTS_scheduler) $(TESTS_vmx),$(call unit_in,arch kernel vmx))
TESTS_svm        := $(call unit_in,svm)
PARTS_svm        := $(UNIT_SVM_PARTS) $(BOOT_GATES) tests/unit/svm/support.c
PARTS_kernel     := $(UNIT_KERNEL_PARTS) lib/heap.c lib/pagetable.c lib/fmt.c lib/ring.c lib/string.c $(UNIT_KERNEL_SUPPORT) tests/unit/arch/split_support.c
UNITS := $(foreach u,lib vmm supervisor drivers kernel scheduler vmx svm,$(if $(TESTS_$(u)),$(u)))

.PHONY: unit
unit: $(UNITS:%=$(UNIT)/unit-%)
$(BUILD)/host/%.c.o: %.c | $(GENERATED)
	$(call say,HOSTCC,$<)mkdir -p $(@D) && $(CC) $(HOST_FLAGS) -c $< -o $@
$(BUILD)/host/tests/%: HOST_FLAGS += -Wno-shadow # they include whole modules
define unit_rule
$(UNIT)/unit-$(1): $(call objects,host,$(TESTS_$(1)) $(PARTS_$(1)))
	$$(call say,LD,$$@)mkdir -p $$(@D) && $$(CC) $(SANITIZE) -o $$@ $$^ -lcriterion -lfdt
endef
$(foreach u,$(UNITS),$(eval $(call unit_rule,$(u))))

-include guests/tiny/rules.mk guests/wall/rules.mk tests/rules.mk
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
