// SPDX-License-Identifier: Apache-2.0
// Saving and restoring any device model as one record: device_saved_size(), device_save(),
// device_restore(). The head is written and checked here, the rest by the model.
#include "vmm/device/device.h"

#include <assert.h>

#include "lib/string.h"

static_assert(sizeof(struct device_record) == 24,
              "the head of a saved record is part of its format");

// strnlen without reading past the field; `name` itself is ours and short.
static void record_name(char field[16], const char *name) {
    memset(field, 0, 16);
    for (size_t i = 0; i < 16 && name[i]; i++)
        field[i] = name[i];
}

size_t device_saved_size(const struct device *device) {
    return sizeof(struct device_record) + device->ops->record_size;
}

void device_save(const struct device *device, void *buffer) {
    struct device_record head = {.version = device->ops->version, .size = device->ops->record_size};

    record_name(head.name, device->ops->name);
    memcpy(buffer, &head, sizeof(head));
    device->ops->save(device, (uint8_t *)buffer + sizeof(head));
}

enum device_error device_restore(struct device *device, const void *buffer, size_t available,
                                 size_t *used) {
    struct device_record head;
    char name[16];

    if (available < sizeof(head))
        return DEVICE_RECORD_SIZE;
    memcpy(&head, buffer, sizeof(head));
    record_name(name, device->ops->name);
    if (memcmp(name, head.name, sizeof(name)) != 0)
        return DEVICE_RECORD_NAME;
    if (head.size > available - sizeof(head))
        return DEVICE_RECORD_SIZE;
    *used = sizeof(head) + head.size;
    return device->ops->restore(device, (const uint8_t *)buffer + sizeof(head), head.version,
                                head.size);
}
