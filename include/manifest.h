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
//           cmdline = "...";                // for the kernel and the supervisor, see
//                                           docs/manifest.md
//           when-all-ended = "power-off" | "stay";
//           test-image;                     // present: for tests of the hypervisor, see vm@0/vmm
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
//           vm@0 {
//               vm-name = "demo";           // [a-z0-9][a-z0-9-]{0,30}, unique, not "bulkhead"
//               vcpus = <u32>;              // 1..64
//               memory = <u64>;             // bytes, a multiple of 2 MiB
//               kernel = "vmlinuz-0";       // name-in-boot of a module
//               kernel-file = "vmlinuz";    // the user's name of it, for messages; default: kernel
//               initrd = "initrd-0";        // a module likewise; absent when there is none
//               initrd-file = "initrd.img"; // likewise
//               vmm = "calls.elf-2";        // likewise: a program in the VMM's place; absent but
//                                           in test images
//               cmdline = "console=ttyS0";
//               autostart;                  // present: start at boot
//               // All that follows may be absent.
//               tsc-frequency = <u64>;      // Hz, 1 MHz to 8 GHz; default: the host's
//               schedule = "shared" | "dedicated" | "realtime"; // default: shared
//               weight = <u32>;             // 1..10000; default 100
//               cap = <u32>;                // percent of one CPU, 1..25600; shared only
//               cpus = <u64 u64 u64 u64>;   // bit mask, CPUs 0..63 first; default: all
//               budget = <u64>;             // nanoseconds, 1 to 90 % of the period; realtime only
//               period = <u64>;             // nanoseconds, at most 10 s; realtime only
//               trust = "us";               // formed as vm-name: VMs with one word trust each
//                                           other
//               cache = <u32>;              // ways of the last-level cache, 1..32
//               restart = "never" | "on-failure" | "always"; // default: never
//               restart-delay = <u64>;      // nanoseconds, at most 60 s; default 1 s
//               restart-limit = <u32>;      // restarts in a row; default 0: without end
//           };
//       };
//   };
#pragma once

#define MANIFEST_COMPATIBLE "bulkhead,manifest"
#define MANIFEST_VERSION    1

#define MANIFEST_NAME_MAX    31
#define MANIFEST_CMDLINE_MAX 2047
#define MANIFEST_FILE_MAX    63
#define MANIFEST_VCPUS_MAX   64
#define MANIFEST_VMS_MAX     256

#define MANIFEST_TSC_MIN 1000000    // Hz
#define MANIFEST_TSC_MAX 8000000000 // likewise

#define MANIFEST_WEIGHT_DEFAULT 100
#define MANIFEST_WEIGHT_MAX     10000
#define MANIFEST_CAP_MAX        25600
#define MANIFEST_CPU_WORDS      4           // of 64 bits
#define MANIFEST_PERIOD_MAX     10000000000 // nanoseconds
#define MANIFEST_CACHE_WAYS_MAX 32
#define MANIFEST_SHARE_MAX      900         // permil of a CPU that real-time vCPUs may reserve
#define MANIFEST_RESTART_DELAY  1000000000  // nanoseconds: the default
#define MANIFEST_RESTART_MAX    60000000000 // nanoseconds: the longest

#define MANIFEST_MODULE_KERNEL     "kernel.elf"
#define MANIFEST_MODULE_SUPERVISOR "supervisor.elf"
#define MANIFEST_MODULE_VMM        "vmm.elf"
#define MANIFEST_MODULE_CONSOLE    "console.elf"
#define MANIFEST_MODULE_MANIFEST   "manifest.dtb"
