// SPDX-License-Identifier: Apache-2.0
// The command line: the manifest's and the load options of the firmware. No UEFI calls, so that the
// host's tests can link it.
#pragma once

#include <stdbool.h>
#include <stdint.h>

// Appends `text` to the string in `out`, with a space between when both are not empty. False, with
// `out` unchanged, when it does not fit into `size`.
bool boot_text_append(char *out, uint64_t size, const char *text);

// Turns EFI_LOADED_IMAGE_PROTOCOL.LoadOptions into text. Firmware puts binary data there as well (a
// boot option's optional data); only a UCS-2 string of printable ASCII counts. The UEFI shell
// begins it with the name of the program: *was_shell tells, and the name is left out. False when it
// is no text or does not fit; `out` is then "".
bool boot_text_options(char *out, uint64_t size, const void *options, uint64_t options_size,
                       bool *was_shell);
