# SPDX-License-Identifier: Apache-2.0
"""What is mutated: functions that stand between a guest or a VMM and what is not theirs. A function that is renamed is renamed
here, too; one that is gone is an error."""

EACH = 1  # mutants by rule of each function

# Rules in the order in which a function's mutants are chosen: what security hangs on first.
RULES = ["no-check", "no-call", "mask", "shift", "index", "compare", "logic", "return", "bits", "sum", "negate", "no-branch"]

# The unit-test programs, and the files that they hold (tests/unit/rules.mk).
UNITS = {
    "vmx": ("vmx/",),
    "kernel": ("kernel/", "vmx/", "arch/"),
    "scheduler": ("kernel/scheduler.c", "kernel/balance.c", "kernel/budget.c", "kernel/core.c", "kernel/group.c", "kernel/runqueue.c", "kernel/thread.c"),
    "vmm": ("vmm/",),
    "supervisor": ("supervisor/",),
    "lib": ("lib/", "boot/"),
}

FUNCTIONS = {
    # Ring 0: what a handle may do, what a quota holds, whose a page is.
    "kernel/syscall.c": "syscall_dispatch get_named get run_by_rules run_vcpu",
    "kernel/syscall_process.c": "call_handle_copy call_quota_create call_memory_create call_memory_commit",
    "kernel/syscall_vm.c": "call_vm_cpuid call_vcpu_create state_page claim_own",
    "kernel/process.c": "is_map_allowed handle_slot handle_get handle_reserve handle_close process_leave",
    "kernel/quota.c": "charge release quota_alloc_page quota_take_page",
    "kernel/space.c": "need_less table_alloc space_map space_unmap space_fault",
    "kernel/memory.c": "memory_create run_locked memory_get",
    "kernel/region.c": "find_place region_insert region_remove region_find region_drop",
    "kernel/object.c": "object_unref destroy_step",
    "kernel/event.c": "event_signal take_bits event_bind",
    "kernel/vm.c": "flush_tables vm_set_cpuid vm_find_cpuid doorbell_insert vm_ring_doorbell",
    "kernel/vcpu.c": "vcpu_create load vcpu_unload vcpu_evict take_injection start_up take_pending claim_for_thread vcpu_release "
                     "vcpu_signal",
    "kernel/vcpu_state.c": "is_xcr0_valid are_registers_valid write_registers write_rest write_fpu vcpu_write_state",
    "kernel/vcpu_emulate.c": "vcpu_is_cpuid_dynamic move_tsc",
    "kernel/frame.c": "alloc_locked frame_free pool_next pool_unmap kernel_page_alloc kernel_page_free reclaim",
    "kernel/vlapic.c": "vlapic_accept vlapic_take_requests vlapic_end_interrupt vlapic_pending",
    "kernel/vlapic_ipi.c": "matches_logical_xapic matches_logical_x2apic deliver vlapic_send_ipi vlapic_deliver_message",
    "kernel/vlapic_register.c": "vlapic_mmio_read write_svr write_lvt vlapic_is_base_valid vlapic_msr_write",
    "kernel/vlapic_state.c": "is_state_valid vlapic_restore",
    "kernel/vlapic_timer.c": "fire find_expiry vlapic_timer_write_deadline",
    "kernel/pvtime.c": "pvtime_is_valid write_clock",
    "kernel/core.c": "leave core_leave ask change_domain clean_up",
    "kernel/scheduler.c": "change_owner end_switch account",
    "kernel/balance.c": "balance_may_move",
    "kernel/runqueue.c": "get_left runqueue_charge",
    "kernel/budget.c": "count_up budget_park budget_charge begin_period is_ahead",
    "kernel/thread.c": "thread_is_doomed thread_create leave",
    "kernel/kspace.c": "stack_make place_take stacks_give_back kspace_stack_free kspace_user_show kspace_is_user_root",
    "kernel/smp.c": "smp_call flush_if_loaded",
    "kernel/audit.c": "owner_of claim_memory judge_leaf judge_sums",
    "kernel/audit_judge.c": "audit_claim is_inside audit_judge audit_judge_host audit_judge_quota",
    "kernel/group.c": "is_valid group_write",
    "kernel/trap.c": "fault_right trap_user_exception",
    "arch/traps.c": "is_user_range user_read trap_kernel trap_dispatch",
    "arch/mitigation.c": "mitigation_switch",
    "boot/boot_mitigation.c": "boot_mitigation_judge",
    # What the operator sees, who may ask.
    "kernel/log.c": "write_line take_back quote_rest call_log_take call_log_read",
    "kernel/device.c": "device_interrupt connect find_port is_device call_ports_create",
    "kernel/syscall_system.c": "call_system_cpu call_system_power",
    # VT-x.
    "vmx/registers.c": "accept_control write_cr0 write_cr4 vmx_write_registers",
    "vmx/load.c": "load_fpu unload_fpu load_msrs vmx_load vmx_unload vmx_forget",
    "vmx/exit_misc.c": "reflect_debug_exception",
    "vmx/tlb.c": "vmx_flush_vpid vmx_flush_space",
    "vmx/enter.c": "advance finish_step vmx_leave",
    "vmx/exit_msr.c": "write_address write_here",
    "vmx/exit_cr.c": "exit_control_register write_cr8",
    "vmx/inject.c": "combine_with_queued vmx_requeue_event inject_restore exit_monitor_trap",
    "vmx/msr_bitmap.c": "msr_bitmap_fill msr_bitmap_close_addresses",
    "boot/boot_vmx_control.c": "control_from_msr is_refused",
    # What the firmware says.
    "boot/boot_acpi.c": "boot_acpi_open open_root root_count",
    "boot/boot_acpi_cpus.c": "add_cpu add_override read_entry",
    "boot/boot_acpi_nodes.c": "add_domain next_affinity boot_acpi_read_slit",
    "boot/boot_acpi_power.c": "read_integer read_s5",
    "boot/boot_clock.c": "boot_clock_add boot_clock_agrees",
    "boot/boot_sections.c": "read read_header boot_sections_find boot_sections_next",
    # Shared.
    "lib/pagetable.c": "pt_map pt_unmap_some leaf_split pt_destroy",
    "lib/elf.c": "check_identity check_program_header",
    "lib/ring.c": "ring_writer_room ring_reader_count ring_read ring_write",
    # The supervisor: who gets what, and who says what.
    "supervisor/manifest.c": "check_scheduling is_safe_to_check manifest_parse",
    "supervisor/manifest_keys.c": "is_name is_in_range read_key read_file manifest_keys_string",
    "supervisor/line.c": "line_add line_take line_sanitize",
    "supervisor/restart.c": "next_delay",
    "supervisor/placement.c": "leaves_enough is_trusted placement_release",
    "supervisor/partition.c": "check partition_close",
    "supervisor/backlog.c": "backlog_add backlog_add_line backlog_drop",
    "supervisor/reports.c": "reports_take keep count_credit reports_log reports_dump reports_print",
    # The virtual PC.
    "vmm/device/bus.c": "range_takes bus_mmio_read bus_mmio_write",
    "vmm/cpu/walk.c": "is_allowed access_error walk_tables is_canonical walk_fetch",
    "vmm/emulate/operand.c": "linear_address is_aligned_enough operand_store operand_load",
    "vmm/emulate/string.c": "counter_add iterate",
    "vmm/emulate/decode.c": "take_byte take_address32 take_sib memory_access",
    "vmm/cpu/step.c": "take has_area drop find add step_add step_end",
    "vmm/cpu/exit_memory.c": "exit_shortage",
    "vmm/cpu/task.c": "resolve_all mark",
    "vmm/cpu/control.c": "control_cr0_is_valid control_cr4_is_valid control_efer_is_valid control_xcr0_is_valid control_init",
    "vmm/memory.c": "lies_within memory_pointer",
    "vmm/load/linux.c": "check_protocol copy_header",
    "vmm/load/exec.c": "check_header32 check_elf32 exec_from_address check_segments exec_load",
    "vmm/cpu/msr.c": "msr_write msr_state_is_valid",
    "vmm/device/pci.c": "pci_read pci_function_check",
    "vmm/device/pic.c": "chip_record_is_valid chip_acknowledge",
    "vmm/device/pit.c": "counter_record_is_valid",
    "vmm/device/rtc.c": "record_is_valid",
    "vmm/device/rtc_date.c": "alarm_matches",
    "vmm/device/uart.c": "record_is_valid rx_put",
    "vmm/device/ioapic.c": "entry_write ioapic_eoi",
    "vmm/device/keyboard.c": "pending_is_valid write_command",
    "vmm/console.c": "put_aside console_flush",
}
