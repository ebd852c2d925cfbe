// SPDX-License-Identifier: Apache-2.0
// Reads the keys of one VM, or of the host, out of the device tree, by the table that
// include/manifest_keys.h describes. What each key says is checked here, by itself; what keys say
// together is manifest.c's.
#pragma once

#include "supervisor/manifest.h"

// A property that is exactly one NUL-terminated string of at most so many characters; else NULL.
const char *manifest_keys_string(const void *tree, int node, const char *name, size_t most);

// Both read the properties of `node`, fill the members that are keys, and return NULL; or words on
// the first property that is missing or has another form.
const char *manifest_keys_host(const void *tree, int node, struct host_config *host);

// A value that a VM cannot have, or a key that it may not have, is its `refusal`, and NULL where
// there is none. Keys for tests are refused unless `is_test_image`.
const char *manifest_keys_vm(const void *tree, int node, bool is_test_image, struct vm_config *vm);
