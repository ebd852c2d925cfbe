// SPDX-License-Identifier: Apache-2.0
// Included before each file of the supervisor's: its system calls are functions of
// supervisor_support.c's instead of those of lib/syscall.h.
#pragma once

#define sys_handle_close    kernel_handle_close
#define sys_handle_copy     kernel_handle_copy
#define sys_quota_create    kernel_quota_create
#define sys_quota_read      kernel_quota_read
#define sys_memory_create   kernel_memory_create
#define sys_process_create  kernel_process_create
#define sys_process_map     kernel_process_map
#define sys_process_unmap   kernel_process_unmap
#define sys_process_status  kernel_process_status
#define sys_process_kill    kernel_process_kill
#define sys_thread_create   kernel_thread_create
#define sys_event_create    kernel_event_create
#define sys_event_signal    kernel_event_signal
#define sys_event_wait      kernel_event_wait
#define sys_event_wait_for  kernel_event_wait_for
#define sys_channel_create  kernel_channel_create
#define sys_channel_bind    kernel_channel_bind
#define sys_channel_send    kernel_channel_send
#define sys_channel_receive kernel_channel_receive
#define sys_system_info     kernel_system_info
#define sys_console_write   kernel_console_write
#define sys_console_read    kernel_console_read
#define sys_console_bind    kernel_console_bind
#define sys_system_power    kernel_system_power
#define sys_system_cpu      kernel_system_cpu
#define sys_system_audit    kernel_system_audit
#define sys_group_create    kernel_group_create
#define sys_group_write     kernel_group_write
#define sys_process_usage   kernel_process_usage
#include "lib/syscall.h"
#undef sys_handle_close
#undef sys_handle_copy
#undef sys_quota_create
#undef sys_quota_read
#undef sys_memory_create
#undef sys_process_create
#undef sys_process_map
#undef sys_process_unmap
#undef sys_process_status
#undef sys_process_kill
#undef sys_thread_create
#undef sys_event_create
#undef sys_event_signal
#undef sys_event_wait
#undef sys_event_wait_for
#undef sys_channel_create
#undef sys_channel_bind
#undef sys_channel_send
#undef sys_channel_receive
#undef sys_system_info
#undef sys_console_write
#undef sys_console_read
#undef sys_console_bind
#undef sys_system_power
#undef sys_system_cpu
#undef sys_system_audit
#undef sys_group_create
#undef sys_group_write
#undef sys_process_usage

int64_t sys_handle_close(uint32_t handle);
int64_t sys_handle_copy(uint32_t process, uint32_t handle, uint32_t rights, uint64_t mask);
int64_t sys_quota_create(uint32_t quota, uint64_t bytes, uint32_t event, uint64_t mask);
int64_t sys_quota_read(uint32_t quota, struct abi_quota_info *info);
int64_t sys_memory_create(uint32_t quota, uint64_t size);
int64_t sys_process_create(uint32_t quota, uint32_t event, uint64_t mask, uint32_t group);
int64_t sys_process_map(uint32_t process, uint32_t memory, uint64_t address, uint64_t offset,
                        uint64_t size, uint32_t rights);
int64_t sys_process_unmap(uint32_t process, uint64_t address, uint64_t size);
int64_t sys_process_status(uint32_t process, struct abi_process_status *status);
int64_t sys_process_kill(uint32_t process, uint32_t status);
int64_t sys_thread_create(uint32_t process, uint64_t entry, uint64_t stack, uint64_t argument,
                          uint32_t cpu);
int64_t sys_event_create(uint32_t quota);
int64_t sys_event_signal(uint32_t event, uint64_t mask);
int64_t sys_event_wait_for(uint32_t event, uint64_t mask, uint64_t deadline, uint64_t *bits);
int64_t sys_channel_create(uint32_t quota, uint32_t handles[2]);
int64_t sys_channel_bind(uint32_t channel, uint32_t event, uint64_t mask);
int64_t sys_channel_send(uint32_t channel, const void *message, size_t size);
int64_t sys_channel_receive(uint32_t channel, void *message, size_t size);
int64_t sys_system_info(uint32_t system, struct abi_system_info *info);
int64_t sys_console_write(uint32_t system, const char *text, size_t size);
int64_t sys_console_read(uint32_t system, char *text, size_t size);
int64_t sys_console_bind(uint32_t system, uint32_t event, uint64_t mask);
int64_t sys_system_power(uint32_t system, enum abi_power power);
int64_t sys_system_cpu(uint32_t system, uint32_t cpu, struct abi_cpu_info *info);
int64_t sys_system_audit(uint32_t system, struct abi_audit *audit);
int64_t sys_group_create(uint32_t system, uint32_t quota, const struct abi_group *group);
int64_t sys_group_write(uint32_t group, const struct abi_group *values);
int64_t sys_process_usage(uint32_t process, struct abi_usage *usage);

// Elsewhere than in the real machine, where a host's sanitizer has its shadow memory.
#include "supervisor/process.h"
#undef PROCESS_OWN_BASE
#define PROCESS_OWN_BASE 0x200000000000ULL
