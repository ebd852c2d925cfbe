// SPDX-License-Identifier: Apache-2.0
// The DSDT of the virtual PC: what is the same in every VM. Processors are in cpus.asl, and
// everything that depends on the VM is built by acpi.c. Numbers are those of vmm/device/pc.h and
// vmm/device/pm.h.
DefinitionBlock ("", "DSDT", 2, "BULKHD", "BULKHEAD", 0x00000001)
{
    // S5 is the only sleep state: SLP_TYP 5 (PM_SLP_TYP_S5).
    Name (\_S5, Package (4) { 0x05, 0x05, Zero, Zero })

    // 0: 8259, 1: IOAPIC. The system says so once (_PIC), and _PRT follows.
    Name (\PICM, Zero)
    Method (\_PIC, 1, NotSerialized)
    {
        PICM = Arg0
    }

    Scope (\_SB)
    {
        Device (PCI0)
        {
            Name (_HID, EisaId ("PNP0A03"))
            Name (_UID, Zero)
            Name (_BBN, Zero)

            // Bus 0; all ports but those of mechanism #1; the hole below the IOAPIC.
            Name (_CRS, ResourceTemplate ()
            {
                WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode,
                    0x0000, 0x0000, 0x0000, 0x0000, 0x0001)
                IO (Decode16, 0x0CF8, 0x0CF8, 0x01, 0x08)
                WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
                    0x0000, 0x0000, 0x0CF7, 0x0000, 0x0CF8)
                WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
                    0x0000, 0x0D00, 0xFFFF, 0x0000, 0xF300)
                DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable, ReadWrite,
                    0x00000000, 0xC0000000, 0xFEBFFFFF, 0x00000000, 0x3EC00000)
            })

            // Pin P of device D is line (D + P) & 3: IOAPIC inputs 16 to 19, or 8259 inputs 10 and
            // 11. Filled in once, at the first call in each mode.
            Name (PRTA, Package (128) {})
            Name (PRTP, Package (128) {})
            Name (PRTR, Zero)
            Method (PRTF, 0, Serialized)
            {
                Local0 = Zero
                While (Local0 < 128)
                {
                    Local1 = ((Local0 >> 2) << 16) | 0xFFFF
                    Local2 = ((Local0 >> 2) + Local0) & 3
                    PRTA [Local0] = Package (4) { Zero, Zero, Zero, Zero }
                    DerefOf (PRTA [Local0]) [Zero] = Local1
                    DerefOf (PRTA [Local0]) [One] = Local0 & 3
                    DerefOf (PRTA [Local0]) [3] = 16 + Local2
                    PRTP [Local0] = Package (4) { Zero, Zero, Zero, Zero }
                    DerefOf (PRTP [Local0]) [Zero] = Local1
                    DerefOf (PRTP [Local0]) [One] = Local0 & 3
                    DerefOf (PRTP [Local0]) [3] = 10 + (Local2 & 1)
                    Local0++
                }
                PRTR = One
            }
            Method (_PRT, 0, Serialized)
            {
                If (PRTR == Zero)
                {
                    PRTF ()
                }
                If (PICM == Zero)
                {
                    Return (PRTP)
                }
                Return (PRTA)
            }

            // The bridge to the ISA devices, at no PCI address of its own.
            Device (ISA)
            {
                Name (_HID, EisaId ("PNP0A05"))
                Name (_UID, Zero)

                Device (PIC)
                {
                    Name (_HID, EisaId ("PNP0000"))
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x0020, 0x0020, 0x01, 0x02)
                        IO (Decode16, 0x00A0, 0x00A0, 0x01, 0x02)
                        IO (Decode16, 0x04D0, 0x04D0, 0x01, 0x02)
                        IRQNoFlags () { 2 }
                    })
                }

                Device (TIMR)
                {
                    Name (_HID, EisaId ("PNP0100"))
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x0040, 0x0040, 0x01, 0x04)
                        IRQNoFlags () { 0 }
                    })
                }

                Device (SPKR)
                {
                    Name (_HID, EisaId ("PNP0800"))
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x0061, 0x0061, 0x01, 0x01)
                    })
                }

                Device (RTC)
                {
                    Name (_HID, EisaId ("PNP0B00"))
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x0070, 0x0070, 0x01, 0x02)
                        IRQNoFlags () { 8 }
                    })
                }

                Device (COM1)
                {
                    Name (_HID, EisaId ("PNP0501"))
                    Name (_UID, One)
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x03F8, 0x03F8, 0x01, 0x08)
                        IRQNoFlags () { 4 }
                    })
                }

                // What belongs to the board and must not be given to anybody: control port A, debug
                // exit, ACPI registers.
                Device (SYSR)
                {
                    Name (_HID, EisaId ("PNP0C02"))
                    Name (_UID, One)
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x0092, 0x0092, 0x01, 0x01)
                        IO (Decode16, 0x00F4, 0x00F4, 0x01, 0x04)
                        IO (Decode16, 0x0600, 0x0600, 0x01, 0x0C)
                    })
                }
            }
        }
    }
}
