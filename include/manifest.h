// SPDX-License-Identifier: Apache-2.0
// The bindings of the compiled manifest: a flattened device tree that tools/manifest makes from
// TOML, that boot/ reads for the modules (with a reader of its own, see boot/boot_fdt.h) and the
// supervisor for everything else (with libfdt). Strings are NUL-terminated; u32 and u64 are
// big-endian cells as the device tree wants them.
//
//   / {
//       compatible = "bulkhead,manifest";
//       version = <u32 1>;
//       host {
//           ...                         // the keys of [host]: include/manifest_keys.h
//           test-image;                 // present: for tests of the hypervisor, which alone may
//                                       // have the keys that are FOR_TESTS
//       };
//       modules {                           // in loading order; the first two are always
//           module@0 {                      // "kernel.elf" and "supervisor.elf", then "vmm.elf",
//                                           // "console.elf"
//               name-in-boot = "kernel.elf";    // struct boot_module.name, unique
//               path = "\\bulkhead\\kernel.elf"; // on the volume that held the boot application
//               size = <u64>;               // bytes
//               crc32 = <u32>;              // IEEE 802.3, as zlib's crc32()
//           };
//       };
//       vms {
//           vm@0 {                      // the keys of [[vm]]: include/manifest_keys.h
//               vm-name = "demo";
//               kernel = "vmlinuz-0";   // name-in-boot of a module
//               kernel-file = "vmlinuz";
//               ...
//           };
//       };
//   };
#pragma once

#define MANIFEST_COMPATIBLE "bulkhead,manifest"
#define MANIFEST_VERSION    1

#define MANIFEST_NAME_MAX         31
#define MANIFEST_FILE_MAX         63
#define MANIFEST_CMDLINE_MAX      2047
#define MANIFEST_HOST_CMDLINE_MAX 511 // START_CMDLINE_MAX has room for it
#define MANIFEST_VCPUS_MAX        64
#define MANIFEST_VMS_MAX          256
#define MANIFEST_CPU_WORDS        16 // of 64 bits

#define MANIFEST_NODE_MAX            63
#define MANIFEST_WEIGHT_MAX          10000
#define MANIFEST_CAP_MAX             102400 // percent: 1,024 CPUs
#define MANIFEST_SHARE_MAX           900    // permil of a CPU that real-time vCPUs may reserve
#define MANIFEST_RESTART_SECONDS_MAX 60     // the longest delay
#define MANIFEST_RESTART_MAX         (MANIFEST_RESTART_SECONDS_MAX * 1000000000ULL) // nanoseconds

#define MANIFEST_MODULE_KERNEL     "kernel.elf"
#define MANIFEST_MODULE_SUPERVISOR "supervisor.elf"
#define MANIFEST_MODULE_VMM        "vmm.elf"
#define MANIFEST_MODULE_CONSOLE    "console.elf"
#define MANIFEST_MODULE_MANIFEST   "manifest.dtb"

// What the keys become, of each kind of value: include/manifest_keys.h. A size is in bytes, a time
// in nanoseconds, a rate in Hz; what is absent is 0 or NULL.
#define MEMBER(member)      member;
#define MEMBER_NAME         const char *MEMBER
#define MEMBER_WORD         const char *MEMBER
#define MEMBER_TEXT(...)    const char *MEMBER
#define MEMBER_FLAG         bool MEMBER
#define MEMBER_CHOICE(type) enum type MEMBER
#define MEMBER_NUMBER(...)  uint32_t MEMBER
#define MEMBER_SIZE(...)    uint64_t MEMBER
#define MEMBER_TIME(...)    uint64_t MEMBER
#define MEMBER_RATE(...)    uint64_t MEMBER
#define MEMBER_CPUS(member) uint64_t member[MANIFEST_CPU_WORDS];
// The name of a module, and the user's own name of the file.
#define MEMBER_FILE(member) const char *member, *member##_file;

#define WORD_IS(constant, word, meaning) constant
#define CHOICES(type, ...)               enum type { __VA_ARGS__ };
#include "include/manifest_keys.h"
#undef WORD_IS
