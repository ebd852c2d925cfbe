// SPDX-License-Identifier: Apache-2.0
// The SSDT of the processors. acpi.c cuts it off behind the last processor that the VM has, so each
// must be an object of its own at the top level, in ascending order, and nothing else may stand
// here. (A loop would be shorter, but ASL has none outside methods, and this compiler no macros.)
DefinitionBlock ("", "SSDT", 2, "BULKHD", "BULKCPUS", 0x00000001)
{
    Device (\_SB.C000) { Name (_HID, "ACPI0007") Name (_UID, 0x00) }
    Device (\_SB.C001) { Name (_HID, "ACPI0007") Name (_UID, 0x01) }
    Device (\_SB.C002) { Name (_HID, "ACPI0007") Name (_UID, 0x02) }
    Device (\_SB.C003) { Name (_HID, "ACPI0007") Name (_UID, 0x03) }
    Device (\_SB.C004) { Name (_HID, "ACPI0007") Name (_UID, 0x04) }
    Device (\_SB.C005) { Name (_HID, "ACPI0007") Name (_UID, 0x05) }
    Device (\_SB.C006) { Name (_HID, "ACPI0007") Name (_UID, 0x06) }
    Device (\_SB.C007) { Name (_HID, "ACPI0007") Name (_UID, 0x07) }
    Device (\_SB.C008) { Name (_HID, "ACPI0007") Name (_UID, 0x08) }
    Device (\_SB.C009) { Name (_HID, "ACPI0007") Name (_UID, 0x09) }
    Device (\_SB.C00A) { Name (_HID, "ACPI0007") Name (_UID, 0x0A) }
    Device (\_SB.C00B) { Name (_HID, "ACPI0007") Name (_UID, 0x0B) }
    Device (\_SB.C00C) { Name (_HID, "ACPI0007") Name (_UID, 0x0C) }
    Device (\_SB.C00D) { Name (_HID, "ACPI0007") Name (_UID, 0x0D) }
    Device (\_SB.C00E) { Name (_HID, "ACPI0007") Name (_UID, 0x0E) }
    Device (\_SB.C00F) { Name (_HID, "ACPI0007") Name (_UID, 0x0F) }
    Device (\_SB.C010) { Name (_HID, "ACPI0007") Name (_UID, 0x10) }
    Device (\_SB.C011) { Name (_HID, "ACPI0007") Name (_UID, 0x11) }
    Device (\_SB.C012) { Name (_HID, "ACPI0007") Name (_UID, 0x12) }
    Device (\_SB.C013) { Name (_HID, "ACPI0007") Name (_UID, 0x13) }
    Device (\_SB.C014) { Name (_HID, "ACPI0007") Name (_UID, 0x14) }
    Device (\_SB.C015) { Name (_HID, "ACPI0007") Name (_UID, 0x15) }
    Device (\_SB.C016) { Name (_HID, "ACPI0007") Name (_UID, 0x16) }
    Device (\_SB.C017) { Name (_HID, "ACPI0007") Name (_UID, 0x17) }
    Device (\_SB.C018) { Name (_HID, "ACPI0007") Name (_UID, 0x18) }
    Device (\_SB.C019) { Name (_HID, "ACPI0007") Name (_UID, 0x19) }
    Device (\_SB.C01A) { Name (_HID, "ACPI0007") Name (_UID, 0x1A) }
    Device (\_SB.C01B) { Name (_HID, "ACPI0007") Name (_UID, 0x1B) }
    Device (\_SB.C01C) { Name (_HID, "ACPI0007") Name (_UID, 0x1C) }
    Device (\_SB.C01D) { Name (_HID, "ACPI0007") Name (_UID, 0x1D) }
    Device (\_SB.C01E) { Name (_HID, "ACPI0007") Name (_UID, 0x1E) }
    Device (\_SB.C01F) { Name (_HID, "ACPI0007") Name (_UID, 0x1F) }
    Device (\_SB.C020) { Name (_HID, "ACPI0007") Name (_UID, 0x20) }
    Device (\_SB.C021) { Name (_HID, "ACPI0007") Name (_UID, 0x21) }
    Device (\_SB.C022) { Name (_HID, "ACPI0007") Name (_UID, 0x22) }
    Device (\_SB.C023) { Name (_HID, "ACPI0007") Name (_UID, 0x23) }
    Device (\_SB.C024) { Name (_HID, "ACPI0007") Name (_UID, 0x24) }
    Device (\_SB.C025) { Name (_HID, "ACPI0007") Name (_UID, 0x25) }
    Device (\_SB.C026) { Name (_HID, "ACPI0007") Name (_UID, 0x26) }
    Device (\_SB.C027) { Name (_HID, "ACPI0007") Name (_UID, 0x27) }
    Device (\_SB.C028) { Name (_HID, "ACPI0007") Name (_UID, 0x28) }
    Device (\_SB.C029) { Name (_HID, "ACPI0007") Name (_UID, 0x29) }
    Device (\_SB.C02A) { Name (_HID, "ACPI0007") Name (_UID, 0x2A) }
    Device (\_SB.C02B) { Name (_HID, "ACPI0007") Name (_UID, 0x2B) }
    Device (\_SB.C02C) { Name (_HID, "ACPI0007") Name (_UID, 0x2C) }
    Device (\_SB.C02D) { Name (_HID, "ACPI0007") Name (_UID, 0x2D) }
    Device (\_SB.C02E) { Name (_HID, "ACPI0007") Name (_UID, 0x2E) }
    Device (\_SB.C02F) { Name (_HID, "ACPI0007") Name (_UID, 0x2F) }
    Device (\_SB.C030) { Name (_HID, "ACPI0007") Name (_UID, 0x30) }
    Device (\_SB.C031) { Name (_HID, "ACPI0007") Name (_UID, 0x31) }
    Device (\_SB.C032) { Name (_HID, "ACPI0007") Name (_UID, 0x32) }
    Device (\_SB.C033) { Name (_HID, "ACPI0007") Name (_UID, 0x33) }
    Device (\_SB.C034) { Name (_HID, "ACPI0007") Name (_UID, 0x34) }
    Device (\_SB.C035) { Name (_HID, "ACPI0007") Name (_UID, 0x35) }
    Device (\_SB.C036) { Name (_HID, "ACPI0007") Name (_UID, 0x36) }
    Device (\_SB.C037) { Name (_HID, "ACPI0007") Name (_UID, 0x37) }
    Device (\_SB.C038) { Name (_HID, "ACPI0007") Name (_UID, 0x38) }
    Device (\_SB.C039) { Name (_HID, "ACPI0007") Name (_UID, 0x39) }
    Device (\_SB.C03A) { Name (_HID, "ACPI0007") Name (_UID, 0x3A) }
    Device (\_SB.C03B) { Name (_HID, "ACPI0007") Name (_UID, 0x3B) }
    Device (\_SB.C03C) { Name (_HID, "ACPI0007") Name (_UID, 0x3C) }
    Device (\_SB.C03D) { Name (_HID, "ACPI0007") Name (_UID, 0x3D) }
    Device (\_SB.C03E) { Name (_HID, "ACPI0007") Name (_UID, 0x3E) }
    Device (\_SB.C03F) { Name (_HID, "ACPI0007") Name (_UID, 0x3F) }
}
