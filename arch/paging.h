// SPDX-License-Identifier: Apache-2.0
// x86-64 paging: the entry format for lib/pagetable, and the processor's view of it.
// SDM 3A 4.5 "4-Level Paging and 5-Level Paging".
#pragma once

#include "include/boot.h"
#include "lib/pagetable.h"

// The virtual addresses of the kernel; each window starts at a root entry of its own.
#define KERNEL_DIRECT  BOOT_DIRECT           // + physical address: pages that the kernel owns
#define KERNEL_DEVICES 0xfffffe0000000000ULL // device registers, uncached
#define KERNEL_STACKS  0xfffffe8000000000ULL // kernel stacks with guard pages
#define KERNEL_TABLES  0xffffff0000000000ULL // GDT, TSS and one-page windows of each CPU
#define KERNEL_IMAGE   BOOT_KERNEL_VMA
#define KERNEL_ROOT    256u // first root entry of the kernel's half

#define PTE_PRESENT BIT(0)
#define PTE_WRITE   BIT(1)
#define PTE_USER    BIT(2)
#define PTE_PWT     BIT(3)
#define PTE_PCD     BIT(4)
#define PTE_LARGE   BIT(7)
#define PTE_GLOBAL  BIT(8)
#define PTE_NX      BIT(63)
#define PTE_ADDRESS 0x000ffffffffff000ULL

// leaf_level_max is 2 once 1 GiB pages are known of.
extern struct pt_format paging_format;

void paging_load_root(hpa_t root); // CR3; drops what is not global
