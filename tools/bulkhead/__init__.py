# SPDX-License-Identifier: Apache-2.0
"""What tools/manifest, tools/image and scripts/run share, in the order a run uses it:

    command     exits, messages, sizes and command lines that all tools treat alike
    tomllines   where each key of a TOML file stands
    rows        a description: a header of macros that C and Python read
    schema      the keys of the manifest, as they are described; quantities: numbers with a unit
    table       the keys of one table, each checked by what it is
    manifest    the manifest, read and checked
    compiler    the manifest, compiled to manifest.dtb and the files of the image
    gpt, pe     partition tables, sections of a boot application; image: the images
    firmware    takes the firmware's noise out of the serial output
    outcome     what the lines of a batch run say about each VM
    machine     a machine and its serial port; bochs, qemu: the emulators; target: the choice
    relay       what is typed; terminal: a run at a terminal
    session     a run, and the one without a terminal
    run         scripts/run itself (manifesttool and imagetool are tools/manifest and tools/image)

Python 3.11 and its standard library only; dtc, mtools and xorriso are the programs called.
"""
