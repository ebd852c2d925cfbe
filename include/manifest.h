// SPDX-License-Identifier: Apache-2.0
// The bindings of the compiled manifest: a flattened device tree that tools/manifest makes from TOML,
// that boot/ reads for the modules (with a reader of its own, see boot/boot_fdt.h) and the supervisor for
// everything else (with libfdt). Strings are NUL-terminated; u32 and u64 are big-endian cells as the device tree wants them.
//
//   / {
//       compatible = "bulkhead,manifest";
//       version = <u32 1>;
//       host {
//           cmdline = "...";                // for the kernel and the supervisor, see docs/manifest.md
//           when-all-ended = "power-off" | "stay";
//       };
//       modules {                           // in loading order; the first two are always
//           module@0 {                      // "kernel.elf" and "supervisor.elf", then "vmm.elf"
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
//               initrd = "initrd-0";        // likewise; absent when there is none
//               cmdline = "console=ttyS0";
//               autostart;                  // present: start at boot
//           };
//       };
//   };
#pragma once

#define MANIFEST_COMPATIBLE "bulkhead,manifest"
#define MANIFEST_VERSION    1

#define MANIFEST_NAME_MAX    31
#define MANIFEST_CMDLINE_MAX 2047
#define MANIFEST_VCPUS_MAX   64
#define MANIFEST_VMS_MAX     256

#define MANIFEST_MODULE_KERNEL     "kernel.elf"
#define MANIFEST_MODULE_SUPERVISOR "supervisor.elf"
#define MANIFEST_MODULE_VMM        "vmm.elf"
#define MANIFEST_MODULE_MANIFEST   "manifest.dtb"
